# SPDX-License-Identifier: GPL-2.0-only
"""run.py DIR [no-open-messages]: every check below DIR; prints failures and a summary; exit 1 if one failed. Needs root."""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import attrs
import lib
import names

top = os.path.abspath(sys.argv[1])
lib.no_open_messages = "no-open-messages" in sys.argv[2:]
for module in (names, attrs):
    lib.run(module, top)
print(f"{lib.counts['ok']} assertions hold, {lib.counts['failed']} do not")
sys.exit(1 if lib.counts["failed"] else 0)
