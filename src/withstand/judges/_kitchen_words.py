"""The words of the judge `kitchen`: verbs, foods, vessels and what stands around them, in their base forms."""

import re


def words_of(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Verbs of the kitchen: a time, heat, vessel or "until" beside them is object enough.
COOKING = words_of("""bake barbecue baste beat blanch blend boil braise brew brine broil brown caramelize char
    chop clarify cook cream crimp crisp crumble crush cube curdle cure debone defrost deglaze dehydrate deseed
    devein dice drizzle emulsify ferment flake flambe froth fry garnish glaze grate grill grind hull julienne
    knead leaven macerate marinade marinate mash mince mix mold mould muddle parboil parcook peel pickle poach
    pound proof pulse puree reduce reheat rehydrate render rest roast saute scald scramble sear season shave shred
    shuck sift simmer skewer skim slice sprinkle steam steep stew stir strain sweat temper tenderize thaw toast
    toss truss whip whisk wilt zest""")
# Verbs that need a food, since they are used of anything.
HANDLING = words_of("""add allow arrange bathe braid break bring brush butter chill coat coil combine cool core
    cover crack cut dab dampen dilute dip dissolve divide dot drain dredge drop dunk dust fill filter flatten flip
    flour fluff fold freeze grease grind halve heat immerse incorporate infuse insert invert ladle lay layer leave
    let melt moisten oil pat pipe pit place plop plunge pour press put quarter refrigerate remove return rinse
    roll rub salt scatter scoop score scrape separate shake shape shell slide smear smother soak soften split
    spoon spray spread squeeze stack stretch stuff submerge sweeten swirl tear thicken thin throw tie tip top
    transfer trim turn twist warm wash work wrap""")
WAITING = words_of("""boil brew chill cook cool cure drain ferment infuse marinate melt proof prove reduce rest rise
    set simmer sit soak stand steep thicken""")
IRREGULAR = words_of("""beaten=beat broke=break lets=let left=leave broken=break brought=bring froze=freeze
    frozen=freeze ground=grind tore=tear torn=tear shook=shake shaken=shake fried=fry fries=fry tied=tie tying=tie
    threw=throw thrown=throw laid=lay slid=slide sauteed=saute sauteeing=saute pureeing=puree flambeed=flambe""")
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
    pickle pit press quarter roast roll salt score season shape spoon spread stack steam stew stuff tie tip toast
    top turn wash wrap work return cube filter flake glaze mold mould pipe rest shell swirl twist spray dab dot
    brine""")
FOODS = words_of("""agave aioli ale allspice almond amaretto anchovy apple apricot arborio artichoke arugula
    asafoetida asparagus aubergine avocado bacon baguette balsamic bamboo banana barley basil bean beansprout beef
    beer beet beetroot berbere berry bicarbonate bitters blackberry blueberry bone bouillon bourbon bran brandy
    bread breadcrumb breast brie brioche brisket broccoli broth buckwheat bulgur butter buttercream buttermilk
    butternut butterscotch cabbage cacao calamari candy caper capsicum caramel caraway carcass cardamom carrot
    cashew cauliflower cayenne celeriac celery chai champagne chard cheddar cheese cherry chestnut chia chicken
    chickpea chicory chile chili chilli chipotle chive chocolate chorizo choy chutney ciabatta cider cilantro
    cinnamon citrus clam clementine clove cocoa coconut cod coffee cognac collard condiment coriander corn
    cornflake cornflour cornmeal cornstarch courgette couscous crab cranberry crawfish crayfish cream creme
    croissant crouton cucumber cumin curd currant curry custard daikon dashi dates dill drumstick duck edamame egg
    eggplant elderflower enchilada endive espresso farro fat fennel fenugreek feta fig fillet filo fish flaxseed
    flour focaccia fondant fontina fruit fudge galangal ganache garam garlic gelatin ghee gherkin giblet gin
    ginger gingerbread gnocchi goose gooseberry gorgonzola gouda grape grapefruit greens grenadine grits gruyere
    guacamole guava haddock halibut halloumi ham harissa hazelnut herb herring hoisin hollandaise honey
    horseradish hummus icecream jackfruit jaggery jalapeno jam jelly juice juniper kale kefir ketchup kidney
    kimchi kiwi kombu kumquat ladyfinger ladyfingers lamb lard lasagne leek lemon lemonade lemongrass lentil
    lettuce lime linguine liqueur liver lobster loin lychee macadamia macaroni mace mackerel mandarin mango maple
    margarine marmalade marrow marsala marshmallow marzipan masa masala mascarpone matcha mayo mayonnaise meat
    melon meringue milk millet mint mirin miso molasses monkfish mozzarella mulberry muscovado mushroom mussel
    mustard mutton naan nectarine noodle nori nougat nut nutmeg oat oatmeal octopus oil okra olive onion orange
    oregano orzo oyster pancetta paneer panko papaya paprika parmesan parsley parsnip passionfruit pasta pastry
    pate pea peach peanut pear pecan pectin pepper peppercorn pepperoni persimmon phyllo pickle pimento pineapple
    pistachio pita plantain plum polenta pomegranate ponzu popcorn poppy pork porridge potato poultry prawn
    prosciutto prosecco provolone prune pumpkin quail quince quinoa rabbit radish raisin raspberry relish rhubarb
    rib rice ricotta rigatoni romaine rosemary rosewater roux rum rutabaga rye saffron sage salami salmon salsa
    salt sambal sardine sauerkraut sausage scallion scallop seafood seaweed seitan seltzer semolina sesame shallot
    shank shellfish sherry shortbread shortcrust shortening shrimp sirloin snapper soda sorbet sourdough soy
    soybean spaghetti spelt spice spinach sprinkles sprout squash squid sriracha starch stock strawberry suet
    sugar sultana sumac sweetcorn sweetener syrup tabasco tagliatelle tahini tamarind tangerine tapioca tarragon
    tea tempeh tenderloin tequila teriyaki thyme toffee tofu tomato tonic tortilla treacle tripe trout truffle
    tuna turkey turmeric turnip udon vanilla veal vegetable veggie venison vermicelli vermouth vinegar vodka
    walnut wasabi water watercress watermelon wheat whey whiskey whisky wine worcestershire wrapper yam yeast
    yoghurt yogurt yolk yuzu ziti zucchini""")
# Foods too, but general words, dishes and what goes into them half made: they are no ingredients to list.
GENERAL = words_of("""appetizer bagel baklava batter biryani biscuit bisque borscht brownie bruschetta bun burger
    burrito cake casserole ceviche cheesecake chowder churro cobbler cocktail coleslaw compote concoction cookie
    cornbread cracker crepe croquette crumb crust cupcake dal dessert dip dish dough dressing drink dumpling
    eclair eggnog empanada fajita falafel filling flan fondue food fries frittata fritter frosting gazpacho gelato
    glaze goulash granola gravy gumbo gyoza ice icing ingredient jambalaya kebab kombucha lasagna lassi latte loaf
    macaron marinade meal meatball meatloaf mixture mochi moussaka mousse muffin nachos omelet omelette paella
    pancake parfait paste patty pavlova peel pesto pho pie pilaf pizza pretzel pudding puree quesadilla quiche
    ramen ratatouille ravioli rind risotto roulade salad samosa sandwich sauce schnitzel scone seasoning shoulder
    slaw smoothie snack souffle soup spread steak stew strudel stuffing sushi taco tagine tamale tart tempura
    thigh tiramisu topping torte trifle waffle wellington wonton zest""")
# So general that it may be the same food under another name.
VAGUE = words_of("""cube dish edge fish food fruit herb ingredient layer liquid meal meat mixture piece slice strip
    vegetable veggie""")
# Whoever does something to one of these does it to what was listed.
WHOLE = GENERAL | words_of("fruit herb meat vegetable veggie")
# These verbs, and COOKWARE, say "food" even without naming one.
UNMISTAKABLE = words_of("""bake barbecue baste blanch braise broil caramelize deglaze fry garnish knead marinate
    parboil poach roast saute simmer""")
# Of these alone glue, cleaners and cures are made as well.
HOUSEHOLD = words_of("""alcohol cornstarch cube dip dish edge food ice ingredient juice layer lemon liquid
    mixture oil paste peel piece salt slice soda spread strip vinegar water""")
# A food before one of these is no food (a coffee machine, a tomato plant, the sugar industry).
NOT_FOOD_WITH = words_of("""allergy bill blossom book box brand business company counter culture farm farmer farming
    field festival grinder grower industry intake knife label lover machine maker market menu mill paint plant
    plantation price producer production rating rush seedling sink shop stain stains store table tank tree trees
    plants truck vendor vine vines""")
QUALITIES = words_of("color culture flavor love odor picture scent smell taste world")  # "the smell of fish"
# A sentence with one of these is about something else.
ELSEWHERE = words_of("""acne bandage bathroom bleach borax carpet cement cleaner cleaning cleanse clog compost
    cotton descale descaler descaling detergent diet disinfect fabric facial faucet fertilizer furniture gardening
    germs glue grout hair laundry lawn mask mulch nail nails newspaper paint pesticide plant planted planting
    plywood polish pollen potting puppy rug sandpaper scalp screwdriver screws seedling seedlings shampoo shirt
    shoes shovel skincare slime soap soil stain stained stains stitch toilet trellis varnish wallpaper watering
    weeds whetstone wick windshield yarn""")
VESSELS = words_of("""barbecue bbq blender boiler bowl broiler casserole colander cooker freezer fridge griddle
    grinder jar jug kettle microwave mixer mortar oven pan parchment pitcher pot processor rack refrigerator
    saucepan shaker sieve skillet stockpot stove stovetop surface tagine teapot tray wok""")
TIMES = words_of("minute min hour hr overnight")
HEATS = words_of("until degree degrees fahrenheit celsius \u00b0 flame temperature")
HOT = words_of("low medium high gentle moderate")
# "It is often added to coffee" and "nuts can be added" describe; "add a side salad to the meal" serves.
OFTEN = words_of("often usually typically commonly sometimes generally normally traditionally")
# These say that the text itself is about food, so that its salt and water are too.
CUISINE = words_of("cook cooking cuisine delicious dinner flavor grandma grandmother meal recipe soup taste tasty")
OPTIONAL = words_of("can could may might")
SERVING = words_of("side meal")
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
BETWEEN = words_of("deep then now gently just also first next slow")
SAME_IN_THE_PAST = words_of("cut put spread beat split let")
INTO = words_of("to into onto on in")
# What stands before a verb in an order, and before a noun.
BEFORE_BASE = {""} | words_of(""", to and then or you i we can should must will would may might could you'll
    we'll i'll let's please now next first second third finally lastly always simply just also again but once
    helps well lightly i'd you'd we'd he'd she'd they'd they shall fourth fifth sixth afterwards meanwhile instead
    so either carefully""")
MODALS = words_of("can may might could will would should must")
NOBODY = words_of("it this that which these those they there")
PASSIVE = words_of("is are be being gets")
# "was melted into": told; "was topped with": only described.
PAST_PASSIVE = words_of("was were")
DONE = words_of("into onto together until for")
# Who acts in a story: "he mixed flour" needs no article.
ACTORS = words_of("""he she i we they you then who man woman master chef cook baker apprentice grandmother
    grandma grandfather grandpa mother father girl boy""")
# In a story these tell what the next words are: "she showed him how to mix the flour with milk".
SHOWS = words_of("""show showed shows showing taught teach teaches teaching demonstrate demonstrated demonstrates
    explain explained explains tell told tells""")
LEARNERS = words_of("her him them us")
BOUND = words_of("i i'll i'm will going would can let to you")  # but "I'll be teaching you how to" promises
CONDITIONS = words_of("if when whenever until once ensure ensures ensuring sure")
BEFORE_GERUND = words_of(""", and then or by before after while start starts started begin begins began is are
    was were keep continue he's she's i'm continues continued keeps kept involves requires involved required
    include includes included try recommend suggest consider through upon when you're we're they're""")
BEFORE_NOUN = DETERMINERS | words_of("of in on with for from at into onto to was were been be's had have has")
# "Salt is used to season meat" tells nobody to do it.
NO_ORDER = words_of("""able ability allow allows best designed eager great help helps how ideal known learn like liked
    likes love loved loves perfect popular possible ready tend use used useful want wanted wants way ways wish""")
# "This allows you to add" tells nobody either.
LETS = words_of("allow allows allowing help helps helping lets want wants enable enables")
OBJECTS = words_of("you us them him her me it one")
YOU_WILL = words_of("you'll you'd will may might")  # "you'll want to chop the onions" is an order
# "I can't help you mix the dough, but ..."
SPEAKERS = words_of("i i'm am we we're")
UNABLE = words_of("can't cannot unable won't couldn't")
TURNS = words_of("but however instead though")
# What announces or discusses instructions rather than giving them, until one of RESUMES.
ANNOUNCES = words_of("""art class explain explained explaining explains describe describes describing discuss
    experience how importance instructions learn learned learning lesson method methods process recipe recipes secret
    secrets skill steps teach teaches teaching technique techniques tips tradition way ways""")
RESUMES = words_of("""by is are was were being involves involved includes included requires required start starts
    started begin begins began""")
# Where a sentence has one of these, what was or is done tells of habits.
HABITS = re.compile(
    r"century|centuries|ancient|invent\w*|origin\w*|histor\w*|popular\w*|tradition\w*|festival\w*|restaurants?|1\d\d\d|20\d\d"
)
NO_ORDER_BEFORE = words_of("away of is are was were that recipe recipes down")
NO_ITEM_BEFORE = words_of("and or which from has have can will ,")
# A verb before one of these is part of a name.
NAMES = {"skim milk", "cream cheese", "cream of", "butter beans", "roast beef", "salt water", "whip cream", "mix of"}
BY = words_of("by start started starts begin began begins involves involved requires required")
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
