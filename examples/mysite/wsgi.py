import uwsgi_spools.mysite_spool as mysite_spool


def application(environ, start_response):
    mysite_spool.my_func.spool(test=True)
    start_response("202 Accepted", [("Content-Type", "text/plain")])
    return [b"spooled\n"]
