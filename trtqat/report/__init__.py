"""What people read: results in words, tables and charts.

The HTML of ``trtqat eval --html`` comes from ``page.py``: ``render_page`` chooses what a report's
page shows, ``page.html.jinja`` is its markup, ``page.css`` its style, and ``charts.py`` draws.

    readable.py              evaluate for Python users: its report prints itself and writes its page
    verdict.py               an evaluation in one sentence
    main_table.py, words.py  its tables, and what stands in none of them
    metric_words.py          metrics with their intervals and differences
    locate_words.py          where accuracy is lost, layer by layer and from step to step
    verification_words.py    what a verification of an exported graph found
    trtexec_words.py         what trtexec would report, as it words it
    export_words.py          what an export made; quantize_words.py: what a quantization did
    wording.py               the form of a table, and figures with their units
    templates.py             fills a template; names become text that no browser obeys

Nothing here measures, and nothing here knows the command line.
"""
