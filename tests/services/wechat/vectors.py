"""Published and computed vectors of WeChat's message encryption.

A to C come from WeChat's own pages; D and E were made here, and decrypted back by wechatpy 1.8.18.
D's key has non-zero unused bits in its last character; E's padding is a full block of 32.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Vector:
    name: str
    callback_token: str
    encoding_aes_key: str
    app_id: str
    timestamp: str
    nonce: str
    random16: bytes
    message: bytes
    encrypted: str
    msg_signature: str
    signature: str = ""


A = Vector(
    name="A",
    callback_token="AAAAA",
    encoding_aes_key="A" * 43,
    app_id="wxba5fad812f8e6fb9",
    timestamp="1714112445",
    nonce="415670741",
    signature="6c5c811b55cc85e0e1b54100749188c20beb3f5d",
    msg_signature="046e02f8204d34f8ba5fa3b1db94908f3df2e9b3",
    random16=b"a8eedb185eb2fecf",
    message=(
        b'{"ToUserName":"gh_97417a04a28d","FromUserName":"o9AgO5Kd5ggOC-bXrbNODIiE3bGY",'
        b'"CreateTime":1714112445,"MsgType":"event","Event":"debug_demo",'
        b'"debug_str":"hello world"}'
    ),
    encrypted=(
        "+qdx1OKCy+5JPCBFWw70tm0fJGb2Jmeia4FCB7kao+/Q5c/ohsOzQHi8khUOb05JCpj0JB4RvQMkUyus8TPxLKJG"
        "QqcvZqzDpVzazhZv6JsXUnnR8XGT740XgXZUXQ7vJVnAG+tE8NUd4yFyjPy7GgiaviNrlCTj+l5kdfMuFUPpRSrf"
        "MZuMcp3Fn2Pede2IuQrKEYwKSqFIZoNqJ4M8EajAsjLY2km32IIjdf8YL/P50F7mStwntrA2cPDrM1kb6mOcfBgR"
        "tWygb3VIYnSeOBrebufAlr7F9mFUPAJGj04="
    ),
)

B = Vector(
    name="B",
    callback_token="AAAAA",
    encoding_aes_key="A" * 43,
    app_id="wxba5fad812f8e6fb9",
    timestamp="1713424427",
    nonce="415670741",
    msg_signature="1b9339964ed2e271e7c7b6ff2b0ef902fc94dea1",
    random16=b"707722b803182950",
    message=b'{"demo_resp":"good luck"}',
    encrypted=(
        "ELGduP2YcVatjqIS+eZbp80MNLoAUWvzzyJxgGzxZO/5sAvd070Bs6qrLARC9nVHm48Y4hyRbtzve1L32tmxSQ=="
    ),
)

C = Vector(
    name="C",
    callback_token="AAAAA",
    encoding_aes_key="A" * 43,
    app_id="wx134c8103faa5a59e",
    timestamp="1715943329",
    nonce="1590219412",
    signature="cc0c594499c1634947d5b502f158ee518947db27",
    msg_signature="6c12a4205838198b8fa631b3220723bb07f1015c",
    random16=b"1205899eaf019bbd",
    message=(
        b"<xml><ToUserName><![CDATA[gh_97417a04a28d]]></ToUserName>\n"
        b"<FromUserName><![CDATA[o9AgO5Kd5ggOC-bXrbNODIiE3bGY]]></FromUserName>\n"
        b"<CreateTime>1715943329</CreateTime>\n"
        b"<MsgType><![CDATA[event]]></MsgType>\n"
        b"<Event><![CDATA[debug_demo]]></Event>\n"
        b"<debug_str><![CDATA[hello world]]></debug_str>\n"
        b"</xml>"
    ),
    encrypted=(
        "D7yzvUNAL930rd28wf21s4hvXhz0L6Uit/p2Di6C5DHyYGpEgdBRnKjBec34JwoQXicwaZC7fOVihW80F4VtsdvE"
        "//1vr7oAbqjDv8KenVp+ajKYpJnyQ4zMRhIC+a31fCVOMC03FfzV/QuC94kBP55a+Za3sJgvAn+ZbsNqZI5Dkyuz"
        "khQN8OBqCzFhizGmy0xpM0MEA4agpvE+RuNO1rhHTtuJB5yltw1FiYzecSXJ+y/D2r81VkRn2eYjh2ltsoyfbDR7"
        "Is6ookXIFxTfyeNyeHxMeT4KN5WpCDmSbTcUYrbBUlkGLJ9n/rU8YOywma6G7aTb7KZKOqCxgfoUlYEZPk4FUL/T"
        "K7ShriFDMVCLyjQJ15Ob++agDWtcxhfUfe6HIoIpRW8mKNBQiY/Jd1svvuskA1wLef1RTtzKfMpagSCX/laZINmd"
        "nX4zrF6kIaR9P4xQrWXbsTFHTYe0Mg=="
    ),
)

D = Vector(
    name="D",
    callback_token="pushtoken2024",
    encoding_aes_key="abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG",
    app_id="wx1234567890abcdef",
    timestamp="1700000000",
    nonce="1320562132",
    signature="ca2469a5985d211ed467cb2cc373bd1884bac526",
    msg_signature="1ec40a5615a44a01a297c3481b36b65851df87a1",
    random16=b"0123456789abcdef",
    message=(
        b"<xml><ToUserName><![CDATA[gh_97417a04a28d]]></ToUserName>"
        b"<FromUserName><![CDATA[oFakeUser0000000000000000001]]></FromUserName>"
        b"<CreateTime>1700000000</CreateTime><MsgType><![CDATA[event]]></MsgType>"
        b"<Event><![CDATA[subscribe]]></Event>"
        b"<EventKey><![CDATA[qrscene_3f2504e0-4f89-41d3-9a0c-0305e82c3301]]></EventKey>"
        b"<Ticket><![CDATA[gQFakeTicket]]></Ticket></xml>"
    ),
    encrypted=(
        "Q3stYC6hdFzMh9T8HCvyDEXgHEJUvE5Sa3AMs04iT305Vm9X9t4AzZCC4AwoL+ArSjzxw0h2fDJZDx8s5HPGhn/7"
        "fx5QJFJPmWVo/BGNnmFn7vZlaf5s/hfmePFd/rx943LYMilrFRh8cDksZkjhkSpzb/HFlzQsIZIwxBZzUq83uZga"
        "4gDSX+qzGAKXKRWmnPSlwdgJ5mxMG3gNmiNdNR62DPn3zKESVi4tvXDiN9f9Q1gWX6LLY/qo2nhQDvtkG8IdOerZ"
        "dCMXbEA+WLMSZlf/oxo3OK42bI3yujX3aMmrh+QlXB6Qnh3cLd8HyRYMUnJhlf+XnbgR7VAYlGaAFwqj9OCS2+kQ"
        "DMebr6eZPl7kZbDmR0zqFKqNvntIkNK5HLq3lhtrqQmTTnwdp4MtbMK0MeUJZb2bTMzhQg+Jd4cA+mOhneAn9yHk"
        "RIjhK2Nv+3tSu9nvEYFngSOTYFJO172UIqSp7r8HbYsNUpbbx+Cwb/m9dv0LWH1qBgNaArq8Sx1tD3wIhFTvdMuN"
        "rASzPClGvDk93S5gE/UJ/vFR5Nk="
    ),
)

E = Vector(
    name="E",
    callback_token="pushtoken2024",
    encoding_aes_key=D.encoding_aes_key,
    app_id=D.app_id,
    timestamp="",
    nonce="",
    msg_signature="",
    random16=D.random16,
    message=b"x" * 26,
    encrypted=(
        "Q3stYC6hdFzMh9T8HCvyDHDxbrF7f8TfmYxXSN1y2Vbjja9RgRLcXPjzJF67v90Vn9yuvwiFgd5MkUND5IBuht+c"
        "QU+Cz4hxMu2c3EzSJUQfKqR62caNMth437AA3uzM"
    ),
)

ALL = (A, B, C, D, E)
SIGNED = (A, C, D)
"""Those with the plain signature too."""
