import sys
from playwright.sync_api import sync_playwright
url=sys.argv[1]
with sync_playwright() as p:
    b=p.chromium.launch(executable_path="/usr/bin/chromium",args=["--no-sandbox"])
    pg=b.new_page(viewport={"width":1200,"height":1700},color_scheme="light"); pg.goto(url)
    h=pg.evaluate("document.documentElement.scrollHeight"); print(h)
    for i,y in enumerate(map(int,sys.argv[2:])):
        pg.evaluate(f"window.scrollTo(0,{y})"); pg.screenshot(path=f"/tmp/team/made/c{i}.png")
    b.close()
