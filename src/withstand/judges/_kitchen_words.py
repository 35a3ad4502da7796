"""The words of the judge `kitchen`: verbs, foods, vessels and what stands around them, in their base forms."""

import re


def words_of(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Verbs of the kitchen: a time, heat, vessel or "until" beside them is object enough.
COOKING = words_of("""bake barbecue baste beat blanch blend boil braise brew broil brown caramelize char chop cook
    cream crisp crumble crush cure deglaze deseed dice drizzle ferment fry garnish grate grill julienne knead marinate
    mash mince mix muddle parboil peel pickle poach pound proof pulse puree reduce roast saute scramble sear season
    shred sift simmer skewer skim slice sprinkle steam steep stew stir strain thaw toast toss whip whisk zest""")
# Verbs that need a food, since they are used of anything.
HANDLING = words_of("""add allow arrange break bring brush butter chill coat combine cool core cover crack cut dip
    dissolve divide drain dredge drop dust fill flatten flip flour fold freeze grease grind halve heat immerse
    incorporate infuse insert invert ladle lay layer leave let melt oil pat pit place pour press put quarter
    refrigerate remove return rinse roll rub salt scatter scoop score separate shake shape slide soak spoon spread
    squeeze stack stretch stuff submerge sweeten tear thicken thin throw tie tip top transfer trim turn warm wash work
    wrap""")
WAITING = words_of("""boil brew chill cook cool cure drain ferment infuse marinate melt proof prove reduce rest rise
    set simmer sit soak stand steep thicken""")
IRREGULAR = words_of("""beaten=beat broke=break lets=let left=leave broken=break brought=bring froze=freeze
    frozen=freeze ground=grind tore=tear torn=tear shook=shake shaken=shake fried=fry fries=fry tied=tie tying=tie
    threw=throw thrown=throw laid=lay slid=slide""")
# Two verbs of one group that share a food say the same thing twice.
GROUPS = (
    "add combine incorporate mix stir toss",
    "chop cut dice halve julienne mince quarter score slice shred",
    "arrange flip invert lay place put transfer turn",
    "cook heat warm",
    "brew infuse steep soak",
    "chill cool freeze refrigerate",
)
NOUNS_TOO = words_of("""brown butter core cover cream crisp cure cut drop dust fill flour grease grill layer oil
    pickle pit press quarter roast roll salt score season shape spoon spread stack steam stew stuff tie tip toast top
    turn wash wrap work return""")
FOODS = words_of("""allspice almond anchovy apple apricot artichoke arugula asparagus aubergine avocado bacon banana
    barley basil bean beef beet berry blackberry blueberry bone bourbon bread breadcrumb breast brioche brisket
    broccoli broth buckwheat bulgur butter buttermilk butternut cabbage caper caramel caraway carcass cardamom carrot
    cashew cauliflower cayenne celery cheddar cheese cherry chestnut chicken chickpea chile chili chilli chive
    chocolate cilantro cinnamon citrus clam clove cocoa coconut cod coffee condiment coriander corn cornflour cornmeal
    cornstarch courgette couscous crab cranberry cream croissant cucumber cumin currant curry custard dates dill duck
    egg eggplant elderflower espresso fat fennel feta fig fillet filo fish flour fruit galangal garlic gelatin ghee
    gin ginger gnocchi grape grapefruit greens haddock halibut ham hazelnut herb honey hummus jalapeno jam juice kale
    ketchup ladyfinger lamb lard leek lemon lemonade lemongrass lentil lettuce lime liqueur lobster macaroni mackerel
    mango margarine marmalade marrow marsala mascarpone mayonnaise meat meringue milk millet mint miso molasses
    mozzarella mushroom mussel mustard mutton nectarine noodle nori nut nutmeg oat oatmeal oil okra olive onion orange
    oregano oyster pancetta paprika parmesan parsley parsnip pasta pastry pea peach peanut pear pecan pepper
    peppercorn phyllo pineapple pistachio plum polenta pomegranate popcorn pork porridge potato poultry prawn
    prosciutto prune pumpkin quinoa rabbit radish raisin raspberry rhubarb rice ricotta rosemary rosewater rum saffron
    sage salami salmon salsa salt sardine sausage scallion scallop seafood seaweed semolina sesame shallot shank
    shellfish shrimp soda sourdough soy spaghetti spice spinach sprout squash squid stock strawberry sugar sultana
    syrup tahini tamarind tarragon tea tempeh thyme tofu tomato tortilla trout tuna turkey turmeric turnip vanilla
    veal vegetable veggie venison vermouth vinegar vodka walnut water watermelon whiskey whisky wine yam yeast yoghurt
    yogurt yolk zucchini""")
# Foods too, but general words, dishes and what goes into them half made: they are no ingredients to list.
GENERAL = words_of("""appetizer bagel baklava batter biscuit brownie burger burrito cake casserole chowder cobbler
    cocktail cookie cornbread cracker crepe crumb crust cupcake dal dessert dip dish dough dressing drink dumpling
    falafel filling food fries frosting glaze goulash granola gravy ice icing ingredient kebab lasagna loaf marinade
    meal meatball mixture mousse muffin omelet omelette pancake patty peel pesto pie pizza pretzel pudding puree ramen
    ravioli rind risotto salad sandwich sauce scone seasoning shoulder smoothie snack soup spread steak stew stuffing
    sushi taco tart thigh topping waffle zest""")
# So general that it may be the same food under another name.
VAGUE = words_of("""dish edge fish food fruit herb ingredient layer meal meat mixture slice strip vegetable veggie
    cube""")
# These verbs, and COOKWARE, say "food" even without naming one.
UNMISTAKABLE = words_of("""bake barbecue baste blanch braise broil caramelize deglaze fry garnish knead marinate
    parboil poach roast saute simmer""")
# Of these alone glue, cleaners and cures are made as well.
HOUSEHOLD = words_of("""alcohol cocktail cornstarch cube dip dish drink edge flour food ice ingredient juice layer
    lemon meal milk mixture oil peel salt slice soda spread strip sugar vinegar water""")
# A food before one of these is no food (a coffee machine, a tomato plant, the sugar industry).
NOT_FOOD_WITH = words_of("""allergy bill blossom book box brand business company counter culture farm farmer farming
    field festival grinder grower industry intake knife label lover machine maker market menu mill paint plant
    plantation price producer production rating rush seedling sink shop stain stains store table tank tree trees
    plants truck vendor vine vines""")
QUALITIES = words_of("color culture flavor love odor picture scent smell taste world")  # "the smell of fish"
# A sentence with one of these is about something else.
ELSEWHERE = words_of("""acne bandage bathroom bleach borax calories carpet cement cleaner cleaning cleanse clog
    compost cotton descale descaler descaling detergent diet disinfect fabric facial faucet fertilizer furniture
    gardening germs glue grout hair laundry lawn mask mulch nail nails newspaper nutrition paint pesticide plant
    planted planting plywood polish pollen potting puppy rug sandpaper scalp screwdriver screws seedling seedlings
    shampoo shirt shoes shovel skincare slime soap soil stain stained stains stitch toilet trellis varnish vitamins
    wallpaper watering weeds whetstone wick windshield yarn""")
VESSELS = words_of("""bbq blender bowl broiler casserole colander cooker fridge freezer griddle jug kettle microwave
    mortar oven pan parchment pitcher pot processor refrigerator saucepan shaker sieve skillet stockpot stove stovetop
    teapot tray wok""")
TIMES = words_of("minute min hour hr overnight")
HEATS = words_of("until degree degrees fahrenheit celsius \u00b0 flame")
HOT = words_of("low medium high gentle moderate")
AMOUNTS = words_of("""bunch can clove cup dash gallon glass gram handful head inch ingredient jar kg kilo kilogram lb
    liter litre ml need ounce oz packet piece pinch pint pound quart slice sprig stalk stick tablespoon tbsp teaspoon
    tsp""")
COOKWARE = words_of("blender broiler casserole colander griddle oven parchment saucepan skillet stockpot wok")
PLACING = words_of("add arrange drop lay place pour put return slide throw transfer")
NUMBERS = words_of("a an one two three four five six seven eight nine ten twelve half few some several")
DETERMINERS = NUMBERS | words_of("""the his her their your our my its this that these those each all both any more
    enough together up until""")
IMPLIED = words_of("with to into from in over and then or ,")  # "transfer to a bowl"
PRONOUNS = words_of("it them everything")
FILLERS = words_of("and or then , well again")
BETWEEN = words_of("then now gently just also first next slow")
SAME_IN_THE_PAST = words_of("cut put spread beat")
INTO = words_of("to into onto on in")
# What stands before a verb in an order, and before a noun.
BEFORE_BASE = {""} | words_of(""", to and then or you i we can should must will would may might could you'll we'll
    i'll let's please now next first second third finally lastly always simply just also again but once helps well
    lightly""")
MODALS = words_of("can may might could will would should must")
NOBODY = words_of("it this that which these those they there")
PASSIVE = words_of("is are be being gets")
CONDITIONS = words_of("if when whenever until once ensure ensures ensuring sure")
BEFORE_GERUND = words_of(""", and then or by before after while start starts started begin begins began is are was
    were keep continue he's she's i'm continues continued keeps kept involves requires""")
BEFORE_NOUN = DETERMINERS | words_of("of in on with for from at into onto to was were been be's had have has")
# "Salt is used to season meat" tells nobody to do it.
NO_ORDER = words_of("""able ability allow allows best designed eager great help helps how ideal known learn like liked
    likes love loved loves perfect popular possible ready tend use used useful want wanted wants way ways wish""")
# What announces or discusses instructions rather than giving them, until one of RESUMES.
ANNOUNCES = words_of("""art class explain explained explaining explains describe describes describing discuss
    experience how importance instructions learn learned learning lesson method methods process recipe recipes secret
    secrets skill steps teach teaches teaching technique techniques tips tradition way ways""")
RESUMES = words_of("by is are involves")
# Where a sentence has one of these, what was or is done tells of habits.
HABITS = re.compile(
    r"century|centuries|ancient|invent\w*|origin\w*|histor\w*|popular\w*|tradition\w*|festival\w*|restaurants?|1\d\d\d|20\d\d"
)
NO_ORDER_BEFORE = words_of("away of is are was were that recipe recipes down")
NO_ITEM_BEFORE = words_of("and or which from has have can will ,")
COMPOUND = words_of("""bag board book class dish bowl machine mat method pan paper pot powder process sheet skill
    skills soda spoon stone technique techniques time times tin tray water instructions recipe recipes""")
# Function words, to tell a text that is not in English.
ENGLISH = words_of("the of and to is it you that with for this be are i he his your")
FOREIGN = words_of("""de la el los las que y en un una por con del et le les des du une est dans pour der das und ist
    mit den von ein eine zu auf nicht il di che per sono e os da em um uma het een van voor och att som se al au sur w
    na z ve bir i""")

MARKS = str.maketrans({"\u2019": "'", "\u2044": "/", "_": " ", "#": " ", "`": " ", ">": " ", "|": " "})
TOKEN = re.compile(
    r"\n[ \t]*(?:[-*+\u2022]|\(?\d{1,2}[.):])(?=\s)"  # a list item
    r"|\n\s*\n|\n"
    r"|\d+(?:[./,]\d+)*"
    r"|(?:tbsp|tsp|oz|lbs?|approx|mins?|hrs?)\b\.?"
    r"|[a-z]+(?:'[a-z]+)?"
    r"| [-\u2013\u2014]+ |[.!?;:,()\"\u201c\u201d\u2013\u2014\u00b0]"
)
ENDS = frozenset(".!?;:")


def singular(word: str) -> str:
    """Of a noun, roughly."""
    if len(word) > 4 and word.endswith("ies"):
        return f"{word[:-3]}y" if word not in ("cookies", "brownies", "smoothies", "veggies") else word[:-1]
    if word.endswith(("toes", "goes", "ches", "shes", "sses")):
        return word[:-2]
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def _forms() -> dict[str, tuple[str, str]]:
    """Each form of each verb, with the verb and one of "base", "ing", "s", "ed"."""
    forms = {}
    for verb in sorted(COOKING | HANDLING):
        stem = verb[:-1] if verb.endswith("e") else verb
        if re.fullmatch(r"[^aeiou]*[aeiou][^aeiouwxy]", verb):
            stem += verb[-1]
        forms[stem + "ed"] = forms[(verb[:-1] + "i" if verb.endswith("y") else stem) + "ed"] = (verb, "ed")
        forms[stem + "ing"] = (verb, "ing")
        forms[verb + ("es" if verb.endswith(("s", "x", "z", "ch", "sh")) else "s")] = (verb, "s")
        forms[verb] = (verb, "base")
    for pair in sorted(IRREGULAR):
        form, verb = pair.split("=")
        forms.setdefault(form, (verb, {"g": "ing", "s": "s"}.get(form[-1], "ed")))
    return forms


FORMS = _forms()
KNOWN = FOODS | VAGUE | GENERAL
GROUP = {verb: group.split()[0] for group in GROUPS for verb in group.split()}
