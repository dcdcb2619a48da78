"""Personal data and secrets in text: found by shape, check digit, entropy and the words before them.

schema.py    the config
checks.py    check digits
context.py   what the words before a number say that it is
rules.py     a kind of number: its shape, its check, the words that it needs
numbers.py   payment cards, IBANs, national ids
phones.py    telephone numbers
addresses.py e-mail, IP addresses, URLs with credentials
secrets.py   API keys, passwords in assignments, private keys
scan.py      the pre-check, and the findings of a text
scrubber.py  what is done with them
"""
