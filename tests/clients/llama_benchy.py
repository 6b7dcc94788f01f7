"""llama-benchy, a benchmark of servers: its book comes from here, its tokenizer is a small one, and it finds tokens per second."""

import http.server
import json
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

BOOK = ("It was a dark and stormy night; the rain fell in torrents, and the wind swept up the streets. " * 400).encode()


class Book(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(BOOK)))
        self.end_headers()
        self.wfile.write(BOOK)


with tempfile.TemporaryDirectory() as folder, http.server.ThreadingHTTPServer(("127.0.0.1", 0), Book) as library:
    threading.Thread(target=library.serve_forever, daemon=True).start()
    vocabulary = {symbol: index for index, symbol in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer.save(f"{folder}/tokenizer.json")
    Path(folder, "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    results = Path(folder, "results.json")
    command = [str(Path(sys.executable).with_name("llama-benchy")), "--base-url", f"{sys.argv[2]}/v1", "--model", "tiny"]
    command += ["--tokenizer", folder, "--book-url", f"http://127.0.0.1:{library.server_port}/book.txt", "--exact-tg"]
    command += ["--pp", "64", "--tg", "8", "--runs", "1", "--skip-coherence", "--format", "json", "--save-result", str(results)]
    subprocess.run(command, check=True, timeout=90)
    found = json.loads(results.read_text())["benchmarks"]
    library.shutdown()
assert found[0]["tg_throughput"]["mean"] > 0, found
