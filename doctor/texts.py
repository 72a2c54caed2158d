"""Every sentence of the doctor, in English and Chinese: what was found, and what to do about it.

Names in braces are filled in by the finding, or are `PLACES` of WeChat's console (its pages as of
2025: developers.weixin.qq.com/platform).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Said(NamedTuple):
    """One sentence."""

    en: str
    zh: str


NOTHING = Said("", "")


class Text(NamedTuple):
    what: Said
    remedy: Said = NOTHING


MARKS: Mapping[str, Said] = MappingProxyType(
    {
        "ok": Said("ok     ", "正常"),
        "warn": Said("warn   ", "注意"),
        "bad": Said("BAD    ", "有误"),
        "skipped": Said("skipped", "跳过"),
    }
)

_PLATFORM = "微信开发者平台 (developers.weixin.qq.com/platform) → 我的业务 → "

PLACES: Mapping[str, Said] = MappingProxyType(
    {
        "keys_page": Said(
            f"{_PLATFORM}the account → 基础信息 → 开发密钥",
            f"{_PLATFORM}对应账号 → 基础信息 → 开发密钥",
        ),
        "push_page": Said(
            f"{_PLATFORM}the account → 基础信息 → 域名与消息推送配置",
            f"{_PLATFORM}对应账号 → 基础信息 → 域名与消息推送配置",
        ),
        "binding_page": Said(
            f"{_PLATFORM}the account → 绑定关系 → 开放平台",
            f"{_PLATFORM}对应账号 → 绑定关系 → 开放平台",
        ),
        "verify_page": Said(
            "mp.weixin.qq.com → 设置与开发 → 微信认证", "mp.weixin.qq.com → 设置与开发 → 微信认证"
        ),
        "website_page": Said("open.weixin.qq.com → 管理中心", "open.weixin.qq.com → 管理中心"),
        "mini_page": Said(
            "mp.weixin.qq.com → the mini program → 开发管理 → 开发设置",
            "mp.weixin.qq.com → 小程序 → 开发管理 → 开发设置",
        ),
        "clock_place": Said("chrony, systemd-timesyncd", "用 chrony 或 systemd-timesyncd"),
        "quota_place": Said("WeChat's clear_quota", "微信的 clear_quota 接口"),
        "template_page": Said(
            "mp.weixin.qq.com → 广告与服务 → 模板消息", "mp.weixin.qq.com → 广告与服务 → 模板消息"
        ),
    }
)
"""Where things are mended, mostly at WeChat; the simulated console stands for all of them."""

WHY: Mapping[str, Said] = MappingProxyType(
    {
        "dns": Said("DNS does not know the host", "DNS 里没有这个主机名"),
        "refused": Said("the port refuses connections", "端口拒绝连接"),
        "silent": Said("no answer in time", "超时没有应答"),
        "certificate": Said("its TLS certificate is not valid here", "这台机器不认可它的 TLS 证书"),
        "tls": Said("TLS fails", "TLS 握手失败"),
        "closed": Said("the connection ends without an answer", "没有应答连接就断了"),
        "proxy": Said(
            "the proxy of the environment does not open the way", "环境变量里的代理没有放行"
        ),
        "answer": Said("what answers there is not WeChat's API", "应答的不是微信的接口"),
    }
)

_CALL_OUT = Said(
    "Let this machine reach it: look at DNS, the firewall and "
    "HTTPS_PROXY, then run the doctor again.",
    "请让这台机器能访问它：检查 DNS、防火墙和 HTTPS_PROXY，然后再运行一次。",
)
_COMPARE_KEYS = Said(
    "Compare app_id and app_secret with {keys_page}: same account, no blanks; a reset AppSecret is "
    "shown only once. Restart scanpush after a change of config.yaml.",
    "请与 {keys_page} 核对 app_id 和 app_secret：同一个账号，没有空格；重置后的 AppSecret 只显示一次。改了 "
    "config.yaml 要重启 scanpush。",
)
_SAVE_TOKEN = Said(
    "Enter the same value as callback_token in config.yaml and "
    "as Token at {push_page}, and restart "
    "scanpush before saving there. Then write a word to the account: until it comes, this line "
    "stays.",
    "config.yaml 的 callback_token 与 {push_page} 的 Token（令牌）填同一个值；先重启 scanpush，再到后台保存。"
    "然后给公众号发一句话，收到之前这一行不会变。",
)
_SAVE_KEY = Said(
    "Enter the same value as encoding_aes_key in config.yaml and as EncodingAESKey at {push_page}; "
    "app_id must be of the same account. Restart scanpush before saving there. Then write a word "
    "to the account: until it comes, this line stays.",
    "config.yaml 的 encoding_aes_key 与 {push_page} 的 EncodingAESKey 填同一个值，app_id 也要是同一个账号；"
    "先重启 scanpush，再到后台保存。然后给公众号发一句话，收到之前这一行不会变。",
)
_ANSWER_URL = Said(
    "Have the proxy pass this path to scanpush unchanged: no "
    "redirect, no page of its own, no cache.",
    "请让代理把这个路径原样转给 scanpush：不跳转，不用自己的页面应答，不缓存。",
)
_START = Said(
    "Start scanpush (scripts/run) and run the doctor again.",
    "启动 scanpush（scripts/run），再运行一次。",
)

TEXTS: Mapping[str, Text] = MappingProxyType(
    {
        # The settings.
        "settings": Text(
            Said("{key}: {problem}", "{key}：{problem}"),
            Said(
                "Correct it in config.yaml or in the environment; docs/going-live.md shows an "
                "example.",
                "请在 config.yaml 或环境变量里改正；docs/zh-CN/going-live.md 有示例。",
            ),
        ),
        "no_account": Text(
            Said(
                "no account has an app_id: WeChat is simulated inside the server",
                "没有账号填了 app_id：微信由服务器内部模拟",
            ),
            Said(
                "Fill in wechat.accounts to have an account examined (docs/going-live.md); for "
                "trying, the lines that .venv/bin/python -m simulator prints.",
                "要检查账号，请填写 wechat.accounts（docs/zh-CN/going-live.md）；"
                "想先试试，填 .venv/bin/python -m simulator 打印的那几行。",
            ),
        ),
        "too_slow": Text(
            Said("took longer than {seconds} s", "超过 {seconds} 秒没有结果"),
            Said(
                "Mend what was found above and run the doctor again.",
                "先解决上面的问题，再运行一次。",
            ),
        ),
        "no_time": Text(
            Said("the doctor's minute is over", "一分钟的时限已到"),
            Said(
                "Mend what was found above and run the doctor again.",
                "先解决上面的问题，再运行一次。",
            ),
        ),
        "no_token": Text(
            Said(
                "needs an access_token, which WeChat did not give",
                "需要 access_token，而微信没有给",
            ),
            Said("Mend {root} first.", "先解决 {root}。"),
        ),
        # WeChat.
        "not_reached": Text(
            Said("WeChat is not reached at {host}: {why}", "连不上微信 {host}：{why}"), _CALL_OUT
        ),
        "credentials": Text(
            Said("WeChat gives an access_token for {app_id}", "微信给了 {app_id} 的 access_token")
        ),
        "credentials_unseen": Text(
            Said(
                "WeChat refuses the address before the AppSecret matters",
                "微信先拒绝了 IP，还没有检查 AppSecret",
            ),
            Said("Mend {root} first.", "先解决 {root}。"),
        ),
        "ip_list": Text(Said("WeChat takes calls from this machine", "微信接受这台机器的调用")),
        "ip_refused": Text(
            Said("{problem}; the address is {address}", "{problem}；地址是 {address}"),
            Said(
                "Add {address} to the IP allow list (IP白名单) at {keys_page}, and wait some minutes "
                "until it takes effect.",
                "请把 {address} 加进 {keys_page} 的 IP白名单，几分钟后生效。",
            ),
        ),
        "ip_unseen": Text(
            Said("WeChat did not come to look at the address", "微信还没有检查 IP"),
            Said("Mend {root} first.", "先解决 {root}。"),
        ),
        "clock": Text(
            Said(
                "this machine's clock is within {seconds} s of WeChat's",
                "本机时钟与微信相差不到 {seconds} 秒",
            )
        ),
        "clock_off": Text(
            Said(
                "this machine's clock is {seconds} s {side} WeChat's (its Date header)",
                "本机时钟比微信（Date 响应头）{side} {seconds} 秒",
            ),
            Said(
                "Synchronise the clock ({clock_place}): callbacks more than "
                "{window} s off (wechat.timestamp_window_seconds) are refused, and tokens are not "
                "valid elsewhere.",
                "请校准时钟（{clock_place}）：相差超过 {window} 秒"
                "（wechat.timestamp_window_seconds）的回调会被拒绝，签发的令牌在别处也会无效。",
            ),
        ),
        "clock_refuses": Text(
            Said(
                "this machine's clock is {seconds} s {side} WeChat's (its Date header): with more "
                "than {window} s (wechat.timestamp_window_seconds) every callback is refused",
                "本机时钟比微信（Date 响应头）{side} {seconds} 秒：超过 {window} "
                "秒（wechat.timestamp_window_seconds）时所有回调都会被拒绝",
            ),
            Said(
                "Synchronise the clock ({clock_place}).",
                "请校准时钟（{clock_place}）。",
            ),
        ),
        "clock_server": Text(
            Said(
                "the clock of the server at {base} is {seconds} s off WeChat's: every callback is "
                "refused",
                "{base} 的服务器时钟与微信相差 {seconds} 秒：所有回调都会被拒绝",
            ),
            Said(
                "Synchronise the clock of that machine (chrony, systemd-timesyncd).",
                "请校准那台机器的时钟（chrony、systemd-timesyncd）。",
            ),
        ),
        "clock_unknown": Text(
            Said("WeChat has told no time (Date)", "微信没有告知时间（Date）"),
            Said("Compare the clock with another machine's.", "请与别的机器核对时钟。"),
        ),
        "wechat_time": Text(
            Said(
                "WeChat answers in {ms} ms (median of {count} calls)",
                "微信应答用时 {ms} 毫秒（{count} 次的中位数）",
            )
        ),
        "wechat_slow": Text(
            Said(
                "WeChat answers only in {ms} ms (median of {count} calls; wechat.timeout_seconds "
                "is {limit} s)",
                "微信应答用时 {ms} 毫秒（{count} 次的中位数；wechat.timeout_seconds 是 {limit} 秒）",
            ),
            Said(
                "Run scanpush nearer to WeChat, or through a nearer proxy (HTTPS_PROXY); "
                "wechat.api_base may be https://hk.api.weixin.qq.com.",
                "把 scanpush 放到离微信更近的地方，或用更近的代理（HTTPS_PROXY）；wechat.api_base 也可以是 "
                "https://hk.api.weixin.qq.com。",
            ),
        ),
        "account_type": Text(
            Said("the account may make codes that carry data", "账号可以创建带参数的二维码")
        ),
        "account_type_bad": Text(
            Said(
                "the account may not make codes that carry data ({problem})",
                "账号不能创建带参数的二维码（{problem}）",
            ),
            Said(
                "Only a verified service account (认证服务号) or the test account may: have the account "
                "verified at {verify_page}, take another, or use the login kind code "
                "(docs/login-kinds.md).",
                "只有认证服务号和测试号可以：请在 {verify_page} 完成认证，或换一个账号，或者用登录方式 "
                "code（docs/zh-CN/login-kinds.md）。",
            ),
        ),
        "quota": Text(
            Said(
                "{left} of {limit} codes are left today by WeChat's count{own}",
                "按微信的统计，今天还剩 {left} 个二维码（共 {limit} 个）{own}",
            )
        ),
        "quota_low": Text(
            Said(
                "only {left} of {limit} codes are left today by WeChat's count{own}; "
                "limits.daily_code_reserve is {reserve}",
                "按微信的统计，今天只剩 {left} 个二维码（共 {limit} 个）{own}；limits.daily_code_reserve 是 "
                "{reserve}",
            ),
            Said(
                "Find what begins so many logins (pages that are not visible, robots, another "
                "system of the account). Logins go on until none is left; the count begins again "
                "at midnight in Beijing, or once it is cleared ({quota_place}, ten times a month).",
                "请查清是什么在不断开始登录（没有显示的页面、机器人、同一账号的别的系统）。"
                "用完之前仍可登录；北京时间零点重新计数，也可以清零（{quota_place}，每月十次）。",
            ),
        ),
        "quota_unknown": Text(
            Said(
                "WeChat does not tell what is left of today's codes",
                "微信没有告知今天还剩多少二维码",
            ),
            Said("See the quota at mp.weixin.qq.com, API 诊断.", "请在后台的接口权限页查看额度。"),
        ),
        "as_before": Text(
            Said(
                "fails for the reason told by {root}",
                "失败的原因与 {root} 相同",
            ),
            Said("Mend {root} first.", "先解决 {root}。"),
        ),
        "console_url": Text(
            Said(
                "a server URL is set; for WeChat its host is {addresses}",
                "后台已设置服务器地址；微信解析到 {addresses}",
            )
        ),
        # What the console has, as far as callbacks tell.
        "callbacks_elsewhere": Text(
            Said(
                "WeChat's callbacks come to {path}, where nothing is",
                "微信的回调发到了 {path}，那里什么也没有",
            ),
            Said(
                "Enter {url} as server URL at {push_page}; if it is so there, have the proxy "
                "leave the path as it is. Then write a word to the account.",
                "请在 {push_page} 把服务器地址填为 {url}；若已是如此，请让代理不要改动路径。然后给公众号发一句话。",
            ),
        ),
        "callback_token": Text(
            Said(
                "callback_token is well formed ({count} characters){seen}",
                "callback_token 格式正确（{count} 个字符）{seen}",
            )
        ),
        "callback_token_differs": Text(
            Said(
                "the last callback ({minutes} min ago) was refused: it is not signed with "
                "callback_token",
                "最近一次回调（{minutes} 分钟前）被拒绝：不是用 callback_token 签名的",
            ),
            _SAVE_TOKEN,
        ),
        "foreign_callbacks": Text(
            Said(
                "callbacks of WeChat's passed, and later ones were refused for their signature",
                "微信的回调通过过，之后有签名不对的被拒绝",
            ),
            Said(
                "Expected where strangers knock at the address; if the Token was just changed, "
                "enter the same at {push_page}.",
                "若只是有人试探这个地址，可以不管；若刚改过 Token，请在 {push_page} 填同一个值。",
            ),
        ),
        "encoding_aes_key": Text(
            Said("encoding_aes_key is well formed{seen}", "encoding_aes_key 格式正确{seen}")
        ),
        "no_key_needed": Text(
            Said("mode plaintext has no key", "明文模式没有密钥"),
        ),
        "key_differs": Text(
            Said(
                "the last callback ({minutes} min ago) was refused: encoding_aes_key or app_id "
                "does not open it",
                "最近一次回调（{minutes} 分钟前）被拒绝：用 encoding_aes_key 或 app_id 解不开",
            ),
            _SAVE_KEY,
        ),
        "mode": Text(
            Said(
                "callbacks come in a mode that fits wechat.accounts.{name}.mode: {mode}",
                "回调的加密方式与 wechat.accounts.{name}.mode: {mode} 相符",
            )
        ),
        "mode_differs": Text(
            Said(
                "callbacks come {came} (the last one {minutes} min ago), but "
                "wechat.accounts.{name}.mode is {mode}",
                "回调是{came}（最近一次在 {minutes} 分钟前），而 wechat.accounts.{name}.mode 是 {mode}",
            ),
            Said(
                "Choose safe mode (安全模式) at {push_page} and mode: safe in config.yaml; a test "
                "account knows only mode: plaintext. Then write a word to the account.",
                "在 {push_page} 选安全模式，config.yaml 里写 mode: safe；测试号只能用 mode: "
                "plaintext。然后给公众号发一句话。",
            ),
        ),
        "mode_unsafe": Text(
            Said(
                "mode is plaintext: WeChat signs no bodies", "mode 是 plaintext：微信不对正文签名"
            ),
            Said(
                "Use it for a test account only; else safe mode (安全模式) at {push_page} and "
                "mode: safe.",
                "只有测试号才用它；否则在 {push_page} 选安全模式，并写 mode: safe。",
            ),
        ),
        "no_callback": Text(
            Said(
                "no callback has been accepted since the server started, so it is not known",
                "服务器启动以来没有接受过回调，无从得知",
            ),
            Said(
                "Write a word to the account with WeChat, then run the doctor again. If it "
                "stays so, compare the server URL at {push_page} with that of server_url, and look "
                "for refused callbacks in the server's log.",
                "用微信给这个公众号发一句话，再运行一次。若仍然如此，请核对 {push_page} 的服务器地址与 server_url "
                "一行是否一致，并查看服务器日志里有没有被拒绝的回调。",
            ),
        ),
        "callback_stale": Text(
            Said(
                "the last callback was refused for its time, so it is not known",
                "最近一次回调因为时间不符被拒绝，无从得知",
            ),
            Said(
                "Write a word to the account with WeChat, then run the doctor again. If it stays "
                "so, something between WeChat and scanpush holds callbacks back.",
                "用微信给这个公众号发一句话，再运行一次。若仍然如此，是微信与 scanpush 之间有什么把回调压住了。",
            ),
        ),
        "no_report": Text(
            Said("the running server does not tell: {why}", "正在运行的服务器没有告知：{why}"),
            Said(
                "Start scanpush with the same config.yaml, see server_url, "
                "and run the doctor again.",
                "用同一份 config.yaml 启动 scanpush，看 server_url 一行，再运行一次。",
            ),
        ),
        "format": Text(
            Said(
                "callbacks come as {format}; scanpush reads XML and JSON",
                "回调是 {format} 格式；XML 和 JSON 都能读",
            )
        ),
        # Outside.
        "public_url_empty": Text(
            Said(
                "server.public_url is empty, so the server is looked at on this machine only",
                "server.public_url 为空，只能在本机查看服务器",
            ),
            Said(
                "Set server.public_url to the address that WeChat calls, as in "
                "https://login.example.com.",
                "请把 server.public_url 设为微信访问的地址，例如 https://login.example.com。",
            ),
        ),
        "public_url_private": Text(
            Said(
                "server.public_url is an address of this machine or a "
                "private network, where WeChat "
                "cannot call",
                "server.public_url 是本机或内网地址，微信访问不到",
            ),
            Said(
                "Set it to a public address; from a laptop by a tunnel (docs/going-live.md).",
                "请改成公网地址；在笔记本上可以用隧道（docs/zh-CN/going-live.md）。",
            ),
        ),
        "public_url_port": Text(
            Said(
                "server.public_url has the port {port}, and WeChat calls 80 and 443 only",
                "server.public_url 的端口是 {port}，而微信只访问 80 和 443",
            ),
            Said(
                "Put a proxy at 443 in front, and leave the port out.",
                "在前面用代理监听 443，地址里不写端口。",
            ),
        ),
        "server_url": Text(
            Said(
                "{url} answers the check of the console as WeChat expects, and refuses a wrong "
                "signature",
                "{url} 对后台的校验应答正确，签名不对的会拒绝",
            )
        ),
        "server_url_late": Text(
            Said(
                "{url} answers the check of the console, which looks at no time, and refuses a "
                "wrong signature; but a callback, whose time is looked at, would be refused: the "
                "clock is {seconds} s off",
                "{url} 对后台的校验应答正确（校验不看时间），签名不对的会拒绝；但回调要看时间，会被拒绝：时钟相差 {seconds} 秒",
            ),
            Said("Mend {root} first.", "先解决 {root}。"),
        ),
        "not_running": Text(
            Said(
                "no scanpush answers at {base}, nor on this machine",
                "{base} 没有 scanpush 应答，本机也没有",
            ),
            _START,
        ),
        "server_not_reached": Text(
            Said(
                "{base} is not reached ({why}), though scanpush runs on this machine",
                "访问不到 {base}（{why}），而本机的 scanpush 在运行",
            ),
            Said(
                "Point DNS and the proxy at it, and open the port; the "
                "certificate must be one that "
                "everybody accepts.",
                "请检查 DNS、代理和端口；证书要是公认的机构签发的。",
            ),
        ),
        "server_redirects": Text(
            Said(
                "{url} answers with a redirect (HTTP {status}), which WeChat does not follow",
                "{url} 返回跳转（HTTP {status}），微信不会跟随",
            ),
            _ANSWER_URL,
        ),
        "server_status": Text(
            Said("{url} answers HTTP {status}", "{url} 返回 HTTP {status}"), _ANSWER_URL
        ),
        "server_refuses": Text(
            Said(
                "the server at {base} refuses the right signature: it runs with another "
                "callback_token",
                "{base} 的服务器拒绝了正确的签名：它用的是另一个 callback_token",
            ),
            Said("Restart scanpush with this config.yaml.", "请用这份 config.yaml 重启 scanpush。"),
        ),
        "server_echo": Text(
            Said("{url} does not answer with exactly the echostr", "{url} 返回的不是 echostr 原文"),
            _ANSWER_URL,
        ),
        "server_accepts": Text(
            Said(
                "{url} accepts a wrong signature: what answers there is not scanpush",
                "{url} 接受了错误的签名：应答的不是 scanpush",
            ),
            _ANSWER_URL,
        ),
        "not_outside": Text(
            Said("needs the server, which was not reached", "需要服务器，而它没有应答"),
            Said("Mend {root} first.", "先解决 {root}。"),
        ),
        "proxy_direct": Text(
            Said(
                "no proxy in between: {base} is this server", "中间没有代理：{base} 就是这个服务器"
            )
        ),
        "proxy": Text(
            Said(
                "arrives as Host {host}, {headers} from {peer}; taken for {scheme} from {address}",
                "到达时 Host 是 {host}，{headers}，来自 {peer}；视为来自 {address} 的 {scheme} 请求",
            )
        ),
        "proxy_unlisted": Text(
            Said(
                "the proxy {peer} is not in server.trusted_proxies, so all visitors count as one "
                "address ({headers})",
                "代理 {peer} 不在 server.trusted_proxies 里，所有访客都算同一个地址（{headers}）",
            ),
            Said(
                "Set server.trusted_proxies to [{peer}] and restart scanpush.",
                "请把 server.trusted_proxies 设为 [{peer}]，并重启 scanpush。",
            ),
        ),
        "proxy_no_address": Text(
            Said(
                "a proxy is in front and sends no X-Forwarded-For, so all visitors count as {peer}",
                "前面有代理，但它没有发 X-Forwarded-For，所有访客都算 {peer}",
            ),
            Said(
                "Have it set X-Forwarded-For, and list it in "
                "server.trusted_proxies (deploy/nginx.conf "
                "shows how).",
                "请让它设置 X-Forwarded-For，并把它写进 server.trusted_proxies（参见 deploy/nginx.conf）。",
            ),
        ),
        "proxy_no_scheme": Text(
            Said(
                "a proxy ends TLS in front and names no https in X-Forwarded-Proto ({headers})",
                "前面的代理终结了 TLS，却没有在 X-Forwarded-Proto 里写 https（{headers}）",
            ),
            Said(
                "Have it set X-Forwarded-Proto to https, and list it in server.trusted_proxies.",
                "请让它把 X-Forwarded-Proto 设为 https，并把它写进 server.trusted_proxies。",
            ),
        ),
        "other_public_url": Text(
            Said(
                "the running server has server.public_url {running}, and this config.yaml {here}",
                "正在运行的服务器的 server.public_url 是 {running}，而这份 config.yaml 里是 {here}",
            ),
            Said("Restart scanpush with this config.yaml.", "请用这份 config.yaml 重启 scanpush。"),
        ),
        "socket": Text(
            Said(
                "a WebSocket opens through {base} and brings the first status",
                "经 {base} 能打开 WebSocket，并收到第一条状态",
            )
        ),
        "socket_not_begun": Text(
            Said(
                "no login could be begun to open a socket for (HTTP {status})",
                "没能开始一次登录来打开 WebSocket（HTTP {status}）",
            ),
            Said(
                "See server_url and stores; 429 ends within a minute.",
                "请看 server_url 和 stores；429 一分钟内会结束。",
            ),
        ),
        "socket_no_upgrade": Text(
            Said(
                "the proxy does not pass the upgrade on to scanpush (HTTP {status})",
                "代理没有把 WebSocket 升级转给 scanpush（HTTP {status}）",
            ),
            Said(
                "Have it use HTTP/1.1 and pass the headers Upgrade and Connection on for /ws/ "
                "(deploy/nginx.conf shows how). Pages poll meanwhile.",
                "请让代理对 /ws/ 用 HTTP/1.1，并转发 Upgrade 和 Connection 请求头（参见 deploy/nginx.conf）。"
                "在此之前页面会轮询。",
            ),
        ),
        "socket_refused": Text(
            Said("the socket is refused (HTTP {status})", "WebSocket 被拒绝（HTTP {status}）"),
            Said(
                "Have the proxy pass Origin, Host and Sec-WebSocket-Protocol on unchanged.",
                "请让代理原样转发 Origin、Host 和 Sec-WebSocket-Protocol。",
            ),
        ),
        "socket_silent": Text(
            Said(
                "a WebSocket opens, but the first status does not come",
                "WebSocket 打开了，但没有收到第一条状态",
            ),
            Said(
                "Have the proxy not buffer below /ws/ and let connections live for two minutes.",
                "请让代理对 /ws/ 不缓冲，并让连接至少保持两分钟。",
            ),
        ),
        "verify_files": Text(
            Said("{names} is served as WeChat expects", "{names} 能按微信的要求取到")
        ),
        "verify_none": Text(
            Said("wechat.verify_files is empty", "wechat.verify_files 为空"),
            Said(
                "Only web login and mini programs need it: put in the file "
                "that the console offers.",
                "只有网页授权和小程序需要：填入后台给的文件。",
            ),
        ),
        "verify_missing": Text(
            Said(
                "{url} does not answer with its content (HTTP {status})",
                "{url} 返回的不是它的内容（HTTP {status}）",
            ),
            Said(
                "Have the proxy pass /{name} to scanpush, and restart scanpush after a change of "
                "wechat.verify_files.",
                "请让代理把 /{name} 转给 scanpush；改过 wechat.verify_files 后要重启。",
            ),
        ),
        # People and notices.
        "unionid": Text(
            Said(
                "followers have a unionid: the account is bound to an Open Platform account",
                "关注者有 unionid：账号已绑定开放平台",
            )
        ),
        "unionid_none": Text(
            Said(
                "a follower has no unionid: the account is bound to no Open "
                "Platform account, so the "
                "same person is another user at each app",
                "关注者没有 unionid：账号没有绑定开放平台，同一个人在各个应用里会是不同的用户",
            ),
            Said(
                "Bind all accounts and apps to one Open Platform account at {binding_page}.",
                "请在 {binding_page} 把所有账号和应用绑定到同一个开放平台账号。",
            ),
        ),
        "no_followers": Text(
            Said(
                "the account has no followers yet, who alone could tell",
                "账号还没有关注者，无从得知",
            ),
            Said(
                "Follow the account with WeChat and run the doctor again.",
                "用微信关注这个账号，再运行一次。",
            ),
        ),
        "template": Text(Said("notice_fields fits the template", "notice_fields 与模板一致")),
        "template_unset": Text(
            Said(
                "no notice_template_id is set, and WeChat does not tell the account's templates",
                "没有设置 notice_template_id，微信也没有告知账号的模板",
            ),
            Said(
                "Nothing is to be done without notices. For them, set notice_template_id from "
                "{template_page} and run the doctor again.",
                "不用登录通知就不必管。要用的话，从 {template_page} 取模板 ID 填入 notice_template_id，再运行一次。",
            ),
        ),
        "template_none": Text(
            Said(
                "no notice_template_id is set, and the account has no template",
                "没有设置 notice_template_id，账号也没有模板",
            ),
            Said(
                "Nothing is to be done without notices. For them, add a template at "
                "{template_page}, and set wechat.accounts.{name}.notice_template_id and "
                "notice_fields.",
                "不用登录通知就不必管。要用的话，先到 {template_page} 添加模板，再设置 "
                "wechat.accounts.{name}.notice_template_id 和 notice_fields。",
            ),
        ),
        "template_unused": Text(
            Said(
                "no notice_template_id is set; the account has {listed}",
                "没有设置 notice_template_id；账号有 {listed}",
            ),
            Said(
                "Nothing is to be done without notices. For them, set "
                "wechat.accounts.{name}.notice_template_id and notice_fields.",
                "不用登录通知就不必管。要用的话，设置 wechat.accounts.{name}.notice_template_id 和 notice_fields。",
            ),
        ),
        "template_unknown": Text(
            Said(
                "the account has no template of notice_template_id",
                "账号没有 notice_template_id 这个模板",
            ),
            Said(
                "Copy the id from {template_page}, or add the template there.",
                "请从 {template_page} 复制模板 ID，或先添加模板。",
            ),
        ),
        "template_fields": Text(
            Said(
                "notice_fields does not fit the template: missing {missing}; unknown {surplus}",
                "notice_fields 与模板不一致：缺少 {missing}；多出 {surplus}",
            ),
            Said(
                "Name each of its fields in wechat.accounts.{name}.notice_fields: {wanted}.",
                "请在 wechat.accounts.{name}.notice_fields 里写全它的字段：{wanted}。",
            ),
        ),
        # Apps.
        "app": Text(
            Said(
                "WeChat accepts app_id and app_secret of {app_id}",
                "微信认可 {app_id} 的 app_id 和 app_secret",
            )
        ),
        "app_none": Text(Said("none is configured", "没有配置")),
        # This machine.
        "sqlite": Text(
            Said(
                "{path} can be written; {free} MB are free on its disk",
                "{path} 可以写入；所在磁盘还有 {free} MB",
            )
        ),
        "sqlite_bad": Text(
            Said(
                "embedded.path {path} cannot be used: {problem}",
                "embedded.path {path} 不能用：{problem}",
            ),
            Said(
                "Give the user of scanpush the right to write the file and its folder, or set "
                "another embedded.path.",
                "请让运行 scanpush 的用户能写这个文件和它的目录，或换一个 embedded.path。",
            ),
        ),
        "disk_low": Text(
            Said("only {free} MB are free on the disk of {path}", "{path} 所在磁盘只剩 {free} MB"),
            Said(
                "Free some space: a full disk stops all logins.",
                "请腾出空间：磁盘写满后所有登录都会停止。",
            ),
        ),
        "events": Text(
            Said(
                "a connection to {host} comes about; no event was sent",
                "可以连上 {host}；没有发送任何事件",
            )
        ),
        "events_two_secrets": Text(
            Said(
                "a connection to {host} comes about; events are signed with two secrets",
                "可以连上 {host}；事件同时用两个密钥签名",
            ),
            Said(
                "Take the old one out of events.secret when the receiver knows the new one.",
                "接收方换用新密钥后，请从 events.secret 里去掉旧的。",
            ),
        ),
        "events_proxy": Text(
            Said(
                "{host} is behind a proxy of the environment, which only a request would try",
                "{host} 要经过环境变量里的代理，不发请求就无法检查",
            )
        ),
        "events_not_reached": Text(
            Said("no connection to {host}: {why}", "连不上 {host}：{why}"),
            Said(
                "Correct events.url, or let this machine out to it; events wait for a day.",
                "请改正 events.url，或放行这台机器的出站连接；在此之前事件会等待一天。",
            ),
        ),
        "redis": Text(
            Said(
                "Redis {version} does all that a login needs{eviction}",
                "Redis {version} 满足登录的全部需要{eviction}",
            )
        ),
        "redis_evicts": Text(
            Said(
                "Redis {version} may evict scenes when it is full (maxmemory-policy {policy})",
                "Redis {version} 写满时会淘汰场景（maxmemory-policy {policy}）",
            ),
            Said("Set maxmemory-policy to noeviction.", "请把 maxmemory-policy 设为 noeviction。"),
        ),
        "mongodb": Text(
            Said(
                "MongoDB {version} does all that a login needs",
                "MongoDB {version} 满足登录的全部需要",
            )
        ),
        "store_bad": Text(
            Said("{key}: {problem}", "{key}：{problem}"),
            Said(
                "Correct {key}, or mend the store; docs/operations.md names what it must allow.",
                "请改正 {key}，或修好存储；docs/zh-CN/operations.md 写明了它必须允许什么。",
            ),
        ),
        "descriptors": Text(
            Said(
                "{limit} open files are allowed: room for {sockets} sockets",
                "允许打开 {limit} 个文件：可容纳 {sockets} 个连接",
            )
        ),
        "descriptors_few": Text(
            Said(
                "only {limit} open files are allowed: room for {sockets} sockets",
                "只允许打开 {limit} 个文件：可容纳 {sockets} 个连接",
            ),
            Said(
                "Raise the limit of the service: LimitNOFILE=1048576 in systemd, or ulimit -n.",
                "请调高上限：systemd 的 LimitNOFILE=1048576，或 ulimit -n。",
            ),
        ),
        # WeChat's errcodes.
        "errcode": Text(Said("{problem}", "{problem}")),  # with one of `ADVICE`
    }
)

ADVICE: Mapping[str, Said] = MappingProxyType(
    {
        "keys": _COMPARE_KEYS,
        "ip": Said(
            "Add the address from which this machine calls out to the IP allow list (IP白名单) at "
            "{keys_page}, and wait some minutes.",
            "请把这台机器的出口地址加进 {keys_page} 的 IP白名单，几分钟后生效。",
        ),
        "ip_admin": Said(
            "The account's administrator has to allow the address in WeChat; after a refusal, wait "
            "as long as the text says.",
            "需要账号管理员在微信里同意这个 IP；被拒绝过的，要等到期限过去。",
        ),
        "frozen": Said(
            "Unfreeze the AppSecret at {keys_page}; that takes up to ten minutes.",
            "请在 {keys_page} 解冻 AppSecret，最多需要十分钟。",
        ),
        "account": Said(
            "Ask WeChat why the account is frozen or barred: mp.weixin.qq.com, notices (通知中心).",
            "请在 mp.weixin.qq.com 的通知中心查看账号被冻结或限制的原因。",
        ),
        "grant": Said(
            "The account is not of a kind that may call it: see the table of accounts in "
            "docs/going-live.md; the kind code of docs/login-kinds.md works with any.",
            "这类账号没有该接口的权限：请看 docs/zh-CN/going-live.md 的账号表；任何账号都能用 "
            "docs/zh-CN/login-kinds.md 里的 code 方式。",
        ),
        "quota": Said(
            "Wait until midnight in Beijing, and find what calls so often.",
            "等到北京时间零点，并查清是什么调用得这么频繁。",
        ),
        "wait": Said("Wait for a minute and run the doctor again.", "等一分钟再运行。"),
        "server": Said(
            "Save the server URL at {push_page} while scanpush runs: the address of the line "
            "server_url below, with callback_token as Token, encoding_aes_key as EncodingAESKey "
            "and the same mode. WeChat saves it only where the Token is the same.",
            "请在 scanpush 运行时到 {push_page} 保存服务器地址：填下面 server_url 一行的地址，令牌填 "
            "callback_token，消息加解密密钥填 encoding_aes_key，加解密方式与配置相同。令牌不一致时微信不会保存。",
        ),
        "template": Said(
            "Compare notice_template_id and notice_fields with the template at {template_page}.",
            "请与 {template_page} 的模板核对 notice_template_id 和 notice_fields。",
        ),
        "page": Said(
            "Publish the page of wechat.mini_program.page, or leave it empty.",
            "请发布 wechat.mini_program.page 的页面，或留空。",
        ),
        "domain": Said(
            "Enter the host of server.public_url as the web-authorisation domain (网页授权域名) at "
            "mp.weixin.qq.com → 设置与开发 → 账号设置 → 功能设置.",
            "请到 mp.weixin.qq.com → 设置与开发 → 账号设置 → 功能设置，把 server.public_url 的主机名填为网页授权域名。",
        ),
        "token": Said(
            "Another system renews the access_token of this account: "
            "keep wechat.credential: stable, "
            "and run the doctor again.",
            "有别的系统在刷新这个账号的 access_token：请保持 wechat.credential: stable，再运行一次。",
        ),
        "person": Said(
            "It concerns one person or one code only; docs/errors.md says more.",
            "只涉及某个人或某个 code；详见 docs/zh-CN/errors.md。",
        ),
        "report": Said(
            "Look the rid up at 微信开发者平台 → 接口中心 → API 诊断; docs/errors.md says what scanpush "
            "does about it. Report it if it stays.",
            "请到 微信开发者平台 → 接口中心 → API 诊断 用 rid 查询；scanpush 如何处理见 docs/zh-CN/errors.md。"
            "若一直出现，请反馈。",
        ),
    }
)
"""What to do about errcodes, by the groups of doctor/errcodes.py."""

APP_KEYS: Mapping[str, Said] = MappingProxyType(
    {
        "mini_program": Said(
            "Compare wechat.mini_program.app_id and its app_secret with {mini_page}, and restart "
            "scanpush after a change.",
            "请与 {mini_page} 核对 wechat.mini_program.app_id 和它的 app_secret，改了要重启 scanpush。",
        ),
        "website": Said(
            "Compare wechat.website.app_id and its app_secret with {website_page}, and restart "
            "scanpush after a change.",
            "请与 {website_page} 核对 wechat.website.app_id 和它的 app_secret，改了要重启 scanpush。",
        ),
    }
)
"""What to do where the keys of an app are wrong: they are on other pages than an account's."""

SENTENCES: Mapping[str, Said] = MappingProxyType(
    {
        "ahead": Said("ahead of", "快"),
        "behind": Said("behind", "慢"),
        "encrypted": Said("encrypted", "加密的"),
        "clear": Said("unencrypted", "未加密的"),
        "nothing": Said("nothing", "无"),
        "no_headers": Said("no X-Forwarded headers", "没有 X-Forwarded 请求头"),
        "seen": Said(
            ", and a callback has passed ({minutes} min ago)",
            "，且已有回调通过（{minutes} 分钟前）",
        ),
        "silence": NOTHING,
        "own_count": Said("; this server counts {count}", "；按本服务器的统计是 {count} 个"),
        "an_address": Said("in WeChat's text", "见微信的原文"),
        "restart": Said(
            "it was started with other settings, or its clock is minutes off this machine's",
            "它启动时用的是另一份配置，或者它的时钟与本机相差几分钟以上",
        ),
        "first": Said("Mend {root} first.", "先解决 {root}。"),
        "older": Said("it is of an older version, or another program", "它是旧版本，或是别的程序"),
        "unreached": Said("it is not reached", "连不上它"),
    }
)
"""Parts of sentences."""

NEXT: Mapping[str, Said] = MappingProxyType(
    {
        "first": Said(
            "next: {check} first: {why} → {remedy}", "下一步：先解决 {check}：{why} → {remedy}"
        ),
        "explains": Said(
            "next: {check} first: {why} (waiting for it: {explained}) → {remedy}",
            "下一步：先解决 {check}：{why}（等着它的有 {explained}） → {remedy}",
        ),
        "nothing": Said(
            "next: nothing to mend as far as could be looked at; open the login page and scan",
            "下一步：查到的都没有问题；打开登录页扫一下",
        ),
    }
)
"""The last line."""

UNSEEN = frozenset({"not_running", "no_callback", "callback_stale"})
"""What is next where nothing is bad: a login may still fail at what could not be looked at."""

_NO_CODE = Said("without it no page gets a code", "不解决它，页面拿不到二维码")
_NO_CALLBACK = Said(
    "until then a scan brings no callback that the server takes",
    "不解决它，扫码之后服务器收不到能用的回调",
)
_ONE_KIND = Said("only this login kind waits for it", "只影响这一种登录方式")
_UNKNOWN = Said(
    "only a callback shows whether Token, key and mode fit",
    "只有收到回调才知道令牌、密钥和加密方式对不对",
)

HINDRANCES: Mapping[str, Said] = MappingProxyType(
    {
        "settings": Said(
            "the server does not start with it, and nothing else can be looked at",
            "不改正它，服务器启动不了，别的也无法检查",
        ),
        "stores": Said(
            "without its stores the server does not start, or keeps no login",
            "存储不可用，服务器启动不了，或者存不下登录",
        ),
        "not_reached": _NO_CODE,
        "ip_list": _NO_CODE,
        "credentials": _NO_CODE,
        "account_type": _NO_CODE,
        "quota": Said("soon no page gets a code", "用完之后页面就拿不到二维码"),
        "not_running": Said(
            "without it nothing takes a login", "服务器没有运行，就没有程序处理登录"
        ),
        "server_url": _NO_CALLBACK,
        "clock_refuses": _NO_CALLBACK,
        "clock_server": _NO_CALLBACK,
        "console_url": _NO_CALLBACK,
        "callback_token": _NO_CALLBACK,
        "encoding_aes_key": _NO_CALLBACK,
        "mode": _NO_CALLBACK,
        "socket_not_begun": Said("no page can begin a login", "页面开始不了登录"),
        "proxy": Said(
            "visitors are taken for one, or addresses for others",
            "访客会被当成同一个人，或者地址不对",
        ),
        "socket": Said("pages have to poll meanwhile", "在此之前页面只能轮询"),
        "clock": Said("tokens are not valid elsewhere", "签发的令牌在别处会无效"),
        "mini_program": _ONE_KIND,
        "website": _ONE_KIND,
        "verify_files": Said("web login and mini programs wait for it", "影响网页授权和小程序"),
        "unionid": Said(
            "logins work, but a person may become two users", "能登录，但同一个人可能成为两个用户"
        ),
        "template": Said("logins work, but no notices come", "能登录，但没有登录通知"),
        "events": Said("logins work, but events wait", "能登录，但事件发不出去"),
        "no_callback": _UNKNOWN,
        "callback_stale": _UNKNOWN,
    }
)
"""What each mistake keeps from working, by the key of its text or else by its check; what stands
most in the way of a login comes first."""
