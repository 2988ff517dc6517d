# Fetches orders from the shop and hands them on; it ends when a setting that it needs is not there.
# Models a worker that dies at its start, each time it is started.
# usage: PROGRAM SETTINGS
import configparser
import json
import sys
import urllib.request

settings = configparser.ConfigParser()
settings.read(sys.argv[1])
shop = settings["shop"]
while True:
    request = urllib.request.Request(shop["address"], headers={"Authorization": shop["token"]})
    with urllib.request.urlopen(request) as answer:
        for order in json.load(answer):
            print(order["number"], order["total"])
