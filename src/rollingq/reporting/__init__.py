"""What a person reads: tables, verdicts, figures and one self-contained page, made of result dataclasses only.

The modules import matplotlib, jinja2 and rich (extra ``lab``) only when something is drawn or written.
"""
