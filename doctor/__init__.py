"""``scripts/doctor``: walks a configured account step by step and tells what keeps logins from
working, each with its remedy.

It spends no code, sends no message and changes nothing at WeChat. These are all the calls that it
makes there (`examination.CALLS`, which its transport enforces):

    POST cgi-bin/stable_token                        the token that every caller gets, never forced
                                                     and never by cgi-bin/token, which would end
                                                     that of a running server
    GET  cgi-bin/get_api_domain_ip                   how long an answer takes
    POST cgi-bin/openapi/quota/get                   what is left of today's codes
    POST cgi-bin/qrcode/create                       with an empty action_name: refused by 40052, or
                                                     by 48001 where the account may make no codes
    POST cgi-bin/callback/check                      the server URL of the console, as DNS knows it
    GET  cgi-bin/user/get, cgi-bin/user/info         a follower, and whether there is a unionid
    GET  cgi-bin/template/get_all_private_template   fields of the notice's template
    GET  sns/oauth2/access_token                     with a made-up code: refused by 40029 where
                                                     the website app's secret is right

Towards the server it sends what WeChat and a page send: the check of the server URL, the MP_verify
files, and one scene of the kind ``web``, which costs no code and is cancelled. Only ``/api/doctor``
is asked by nothing else.
"""
