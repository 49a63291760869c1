# What the lines of platform/clients/python/README.md take for granted, around them.
import json
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.environ["CLIENTS"] + "/python")


class Request:
    def __init__(self, method, raw_target):
        self.method, self.raw_target, self.headers = method, raw_target, {}


def handle(request, path):
    return 200, {}, path


# README


for target in ("/x-nmos/", "/x-nmos/node/v1.3/self"):
    status, headers, body = serve(Request("GET", target))
    if status == 200 and body == target:
        print("%s: served" % target)
    else:
        print("%s: %d %s, %s" % (target, status, json.loads(body)["debug"], headers["WWW-Authenticate"]))
