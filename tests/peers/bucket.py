"""An S3 server to test against: moto's, with one bucket `results`, one request at a time so that its own answers to
conditional writes cannot race. Prints its address and serves until it is killed.

pip install "moto[server]"
"""

import sys
import threading
import urllib.request

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server


class Silent(WSGIRequestHandler):
    def log(self, *_):
        pass


server = make_server(
    "127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=False, request_handler=Silent
)
threading.Thread(target=server.serve_forever, daemon=True).start()
address = f"http://127.0.0.1:{server.server_port}"
urllib.request.urlopen(urllib.request.Request(f"{address}/results", method="PUT"))
print(address, flush=True)
sys.stdin.read()
