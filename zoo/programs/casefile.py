"""Pages about cases, whose text comes from an archive behind it. To be served by gunicorn.
The archive's address is in the environment as ARCHIVE."""
import os
import urllib.request

from flask import Flask

application = Flask(__name__)


@application.route("/case")
def case():
    with urllib.request.urlopen(os.environ["ARCHIVE"]) as answer:
        return answer.read()
