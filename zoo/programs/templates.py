# A page server that opens every template, snippet and catalogue anew for every page to see whether one has changed.
# Models opens that dominate.
# usage: PROGRAM FOLDER
import os
import sys

folder = sys.argv[1]
names = [f"{folder}/theme/blocks/locale/block-{number:03d}.tmpl" for number in range(400)]


def render_page():
    for name in names:
        os.close(os.open(name, os.O_RDONLY))


while True:
    render_page()
