// The page `/kiosk` on engines that cannot read its modules: Chromium 47 (Tizen 3) to 62. It is sent behind the words
// of its language, `scanpushWords` (handlers/assets.py), and written in ECMAScript 5, which tests hold it to.
//
// It does what kiosk.js does in a plainer way: one code at a time, drawn by the server; news by long polls, or by
// short ones where those are cut off; the answer to a scan on the plate; a keypad; pairing; the operator's care.

(function () {
  "use strict";

  var KEPT = "scanpush kiosk", ANSWER = 2000, GREETING = 5000, FRESH = 2000, DAY = 86400000;
  var RELOAD_WITHIN = 60000, WAIT = 25;
  var words = scanpushWords.kiosk, states = scanpushWords.states;
  var root = document.documentElement, lang = root.lang;
  var origin = location.protocol + "//" + location.host;
  var isTyped = location.hash.length > 1;
  var name = "", secret = "", shown = null, turn = 0, tries = 0, pairing = false, codeUntil = 0;
  var opened = Date.now(), atPad = [], dressed = " empty", guests = 0, answerTimer, freshTimer, timer;
  var reloaded, reloadBy = 0, longAt = 0, cut = 0;

  function by(id) { return document.getElementById(id); }
  function meta(what) { return document.querySelector('meta[name="scanpush-' + what + '"]').content; }
  function put(id, text) { by(id).textContent = text; }

  /** Where several wait for the same server, they do not come back at once: seconds. */
  function jitter(count, base, cap) { return Math.random() * Math.min(cap, base * Math.pow(2, count)); }

  function later(seconds, act) {
    clearTimeout(timer);
    timer = setTimeout(act, Math.max(1, seconds) * 1000);
  }

  // Which screen this is.

  function identify() {
    if (isTyped) {
      var text = location.hash.slice(1);
      try { text = decodeURIComponent(text); } catch (error) { /* As it was typed. */ }
      var colon = text.indexOf(":");
      if (colon < 0) name = text;
      else {
        name = text.slice(0, colon);
        secret = text.slice(colon + 1);
      }
      return;
    }
    try {
      var kept = JSON.parse(localStorage.getItem(KEPT)) || ["", ""];
      name = kept[0];
      secret = kept[1];
    } catch (error) {
      // Never paired, or no storage.
      name = secret = "";
    }
  }

  function keep(paired) {
    try {
      localStorage.setItem(KEPT, JSON.stringify([paired.name, paired.secret]));
    } catch (error) {
      var hash = encodeURIComponent(paired.name) + ":" + encodeURIComponent(paired.secret);
      history.replaceState(null, "", "#" + hash);
    }
  }

  function forget() {
    history.replaceState(null, "", location.pathname + location.search);
    try { localStorage.removeItem(KEPT); } catch (error) { /* There is no storage, so nothing is in it. */ }
  }

  // Requests.

  /**
   * `done` is told `status` (0: no JSON came back), `body`, `retryAfter` in seconds, and `text`, what came back as it
   * is; exactly once.
   */
  function request(method, path, bearer, json, seconds, done) {
    var ask = new XMLHttpRequest(), isOver = false;
    function end() {
      if (isOver) return;
      isOver = true;
      var body = {}, status = ask.status;
      try { body = JSON.parse(ask.responseText || "{}"); } catch (error) { status = 0; }
      var retryAfter = Number(ask.getResponseHeader("Retry-After")) || 0;
      done({ status: status, body: body, retryAfter: retryAfter, text: ask.responseText });
    }
    ask.open(method, origin + path);
    ask.timeout = seconds * 1000;
    if (bearer) ask.setRequestHeader("Authorization", "Bearer " + bearer);
    ask.onload = ask.onerror = ask.ontimeout = ask.onabort = end;
    ask.send(json ? JSON.stringify(json) : null);
  }

  // The plate.

  /** What the plate shows: " empty", " empty down", " empty pairs", a code or " fresh" one; the keypad covers it. */
  function dress(kind) {
    dressed = kind;
    by("plate").className = "plate" + kind + (atPad.length ? " asks" : "");
  }

  function drawn() {
    var plain = by("plain");
    if (plain) plain.parentNode.removeChild(plain);
  }

  function empty(element) {
    while (element.firstChild) element.removeChild(element.firstChild);
  }

  /** Why there is no code. A stale one is never left standing. */
  function say(title, hint) {
    var small = document.createElement("small");
    small.textContent = hint;
    by("picture").hidden = true;
    dress(title === states.starting[0] ? " empty" : " empty down");
    put("trouble", title);
    by("trouble").appendChild(small);
    codeUntil = 0;
  }

  function sayState(key) {
    var said = states[key] || states.degraded;
    say(said[0], said[1]);
  }

  function troubleOf(answer) {
    if (answer.status === 429) return "limited";
    if (!answer.status) return navigator.onLine ? "degraded" : "offline";
    return "degraded " + (answer.body.error && answer.body.error.code);
  }

  function fill(element, text, guest) {
    var bdi = document.createElement("bdi"), parts = text.split("{name}");
    bdi.textContent = (guest || words.somebody).slice(0, 24);
    empty(element);
    element.appendChild(document.createTextNode(parts[0]));
    if (parts.length < 2) return;
    element.appendChild(bdi);
    element.appendChild(document.createTextNode(parts[1]));
  }

  /** The answer to a scan, over the plate; another guest's or a welcome takes its place without a second flash. */
  function answer(text, guest, hint) {
    fill(by("answer-title"), text, guest);
    put("answer-hint", hint);
    by("answer").hidden = false;
    clearTimeout(answerTimer);
    answerTimer = setTimeout(function () {
      by("answer").hidden = true;
      if (shown && shown.isShown) markFresh();
      else if (!dressed) sayState("starting");
    }, ANSWER);
  }

  /** Another code than the one before it: seen from afar. */
  function markFresh() {
    if (dressed) return;
    dress(" fresh");
    clearTimeout(freshTimer);
    freshTimer = setTimeout(function () { if (dressed === " fresh") dress(""); }, FRESH);
  }

  // One scene after the other.

  function next() {
    if (pairing) return;
    var mine = ++turn;
    var wish = { kiosk: name, lang: lang, page: meta("version") };
    request("POST", "/api/scenes", secret, wish, 15, function (answered) {
      if (mine !== turn || pairing) return;
      var scene = answered.body;
      if (answered.status === 201) {
        tries = 0;
        if (Date.now() - opened > DAY && !guests) return location.reload();
        // The first answer tells which reload this page is the result of.
        if (reloaded === undefined) reloaded = scene.screen && scene.screen.reload || null;
        heed({ label: scene.label || name });
        heed(scene.screen || {});
        return show(scene, mine);
      }
      if (answered.status === 401 && !isTyped) return pair(true);
      var refused = answered.status === 401 || answered.status === 403;
      var off = answered.status === 404;
      if (refused) say(words.unknown, words.unknown_hint);
      else if (off) say(words.pair_off, words.pair_off_hint);
      else sayState(troubleOf(answered));
      later(Math.max(answered.retryAfter, refused || off ? 60 : jitter(tries++, 2, 30)), next);
    });
  }

  function show(scene, mine) {
    var picture = new Image(), life = scene.expires_in;
    var shownFor = scene.qr.expires_in || Math.max(life - 30, life / 2);
    var follower = { scene: scene, seq: scene.seq, guest: "", isShown: true, isOver: false, line: null };
    codeUntil = Date.now() + shownFor * 1000;
    picture.onload = function () {
      if (mine !== turn || pairing) return;
      drawn();
      by("picture").src = picture.src;
      by("picture").hidden = false;
      dress("");
      by("plate").setAttribute("data-scene", scene.scene_str);
      empty(by("trouble"));
      if (by("answer").hidden && shown) markFresh();
      shown = follower;
      later(shownFor, function () {
        follower.isShown = false;
        next();
      });
      poll(follower);
    };
    picture.onerror = function () {
      if (mine !== turn || pairing) return;
      sayState("degraded");
      later(jitter(tries++, 4, 30), next);
    };
    picture.src = origin + scene.qr.svg;
  }

  /** Until the scene has ended; a code that was up until now is still followed. */
  function poll(follower) {
    if (follower.isOver || pairing) return;
    var scene = follower.scene, asked = Date.now(), long = asked >= longAt;
    var query = long ? "?wait=" + WAIT + "&seq=" + follower.seq : "";
    request("GET", scene.status + query, scene.watch_token, null, WAIT + 10, function (got) {
      if (pairing) return;
      var pause = scene.poll_interval || 1;
      if (got.status === 200) {
        by("way").setAttribute("data-way", long ? "long_poll" : "poll");
        if (long) cut = 0;
        var isNews = got.body.seq > follower.seq;
        heed(got.body.screen || {});
        if (isNews) hear(follower, got.body);
        // A long poll that did not wait must not spin.
        if (long && (isNews || Date.now() - asked > 900)) pause = 0;
      } else if (got.status === 401 || got.status === 404 || got.status === 410) {
        return end(follower);
      } else {
        by("way").setAttribute("data-way", "");
        // Long polls are cut off where short ones may get through.
        if (long && got.status !== 429 && ++cut > 1) longAt = Date.now() + 300000;
        pause = Math.max(got.retryAfter, pause, jitter(cut, 1, 30));
      }
      setTimeout(function () { poll(follower); }, pause * 1000);
    });
  }

  function end(follower) {
    follower.isOver = true;
    closePad(follower);
    dismiss(follower);
    if (follower.isShown) {
      follower.isShown = false;
      next();
    }
  }

  function dismiss(follower) {
    var line = follower.line;
    follower.line = null;
    if (line) setTimeout(function () {
      if (line.parentNode) line.parentNode.removeChild(line);
      guests--;
    }, GREETING);
  }

  function hear(follower, status) {
    var state = status.state, face = state === "consumed" ? "authorized" : state;
    follower.seq = status.seq;
    follower.guest = status.user && status.user.name || follower.guest;
    if (state === "waiting") return;
    if (state !== "expired" && state !== "cancelled") {
      if (status.confirm === "number") face = "number";
      if (face === "denied" && follower.numbered) face = "wrong_number";
      if (!follower.line && !follower.isGreeted) {
        follower.isGreeted = true;
        guests++;
        follower.line = by("guests").appendChild(document.createElement("li"));
        while (by("guests").children.length > 3) by("guests").removeChild(by("guests").firstChild);
      }
      if (follower.line) {
        follower.line.className = face;
        fill(follower.line, face === "authorized" && !follower.guest ? words.welcome : words[face] || words.failed,
          follower.guest);
      }
      if (face === "authorized") answer(follower.guest ? words.authorized : words.welcome, follower.guest, "");
      else if (follower.isShown && face !== "denied" && face !== "failed")
        answer(follower.guest ? states.scanned[0] : words.scan, follower.guest, states.scanned[1]);
    }
    if (face === "number") openPad(follower);
    else closePad(follower);
    if (status.exchange_code && !follower.handed) {
      follower.handed = true;
      document.dispatchEvent(new CustomEvent("scanpush-exchange", {
        detail: { scene_str: follower.scene.scene_str, exchange_code: status.exchange_code }
      }));
    }
    if (/^(authorized|consumed|denied|failed|expired|cancelled)$/.test(state)) return end(follower);
    if (follower.isShown) {
      follower.isShown = false;
      next();
    }
  }

  // The keypad, for one guest after the other.

  function openPad(follower) {
    if (atPad.indexOf(follower) < 0) atPad.push(follower);
    showPad();
  }

  function closePad(follower) {
    var at = atPad.indexOf(follower);
    if (at < 0) return;
    atPad.splice(at, 1);
    showPad();
  }

  function showPad() {
    var guest = atPad[0], form = by("number");
    dress(dressed);
    by("pad").hidden = !guest;
    empty(form);
    if (!guest) return;
    fill(by("pad-guest"), words.number, guest.guest);
    put("leave", words.cancel);
    by("leave").onclick = function () {
      request("DELETE", guest.scene.status, guest.scene.watch_token, null, 15, function () {});
      end(guest);
    };
    var field = form.appendChild(document.createElement("input"));
    field.readOnly = true;
    field.setAttribute("aria-label", states.number);
    var isSent = false;
    function key(text, label, act) {
      var button = form.appendChild(document.createElement("button"));
      button.type = "button";
      button.textContent = text;
      button.setAttribute("aria-label", label);
      button.onclick = function () { if (!isSent) act(); };
    }
    function digit(n) {
      key(n, n, function () { field.value = (field.value + n).slice(0, 2); });
    }
    "123456789".split("").forEach(digit);
    key("⌫", states.erase, function () { field.value = field.value.slice(0, -1); });
    digit("0");
    key("✓", states.confirm, function () {
      if (field.value.length < 2) return;
      isSent = guest.numbered = true;
      var tried = { seq: guest.seq, number: field.value };
      request("POST", guest.scene.status + "/number", guest.scene.watch_token, tried, 15, function (got) {
        if (got.status !== 204) isSent = guest.numbered = false;
      });
    });
  }

  // What the operator does.

  function heed(told) {
    if (told.revoked) return pair(true);
    if (told.label) put("label", words.screen.replace("{label}", told.label));
    if (told.notice !== undefined) put("notice", told.notice || "");
    if (!told.reload || told.reload <= reloaded) return;
    reloaded = told.reload;
    reloadBy = Date.now() + RELOAD_WITHIN;
  }

  /** A code for the operator, and another when it has ended, until one has been used. */
  function pair(isRevoked) {
    if (pairing && isRevoked) return;
    if (isRevoked) forget();
    pairing = true;
    shown = null;
    atPad = [];
    showPad();
    by("answer").hidden = true;
    by("pair-code").hidden = true;
    empty(by("guests"));
    put("label", "");
    put("notice", "");
    by("way").setAttribute("data-way", "");
    if (isRevoked !== undefined) put("heading", isRevoked ? words.revoked : words.pair);
    put("hint", words.pair_hint.replace("{address}", location.host + "/operator"));
    request("POST", "/api/kiosks/pair", "", null, 15, function (got) {
      if (got.status !== 201) {
        if (got.status === 404) say(words.pair_off, words.pair_off_hint);
        else sayState(troubleOf(got));
        return later(Math.max(got.retryAfter, got.status === 404 ? 60 : jitter(tries++, 2, 30)), pair);
      }
      var code = got.body.code, until = Date.now() + got.body.expires_in * 1000;
      tries = 0;
      drawn();
      say("", "");
      // The letters stand there without the picture, too: it may not come.
      dress(" empty pairs");
      put("pair-code", code.replace(/^(\w{4})(\w{4})$/, "$1-$2"));
      by("pair-code").hidden = false;
      codeUntil = until;
      request("GET", "/api/kiosks/pair/qr.svg", got.body.pair_token, null, 15, function (drawing) {
        if (codeUntil !== until || !/^<svg /.test(drawing.text)) return;
        by("picture").src = "data:image/svg+xml," + encodeURIComponent(drawing.text);
        by("picture").alt = words.pair;
        by("picture").hidden = false;
        dress("");
      });
      collect(got.body.pair_token, got.body.interval, until);
    });
  }

  function collect(token, interval, until) {
    if (Date.now() >= until) return pair();
    later(interval, function () {
      request("GET", "/api/kiosks/pair?again=1", token, null, 15, function (got) {
        if (got.status === 200) {
          keep(got.body);
          location.reload();
        } else if (got.status === 202) collect(token, got.body.interval, until);
        else if (got.status === 429 || !got.status || got.status >= 500) {
          collect(token, Math.max(got.retryAfter, interval) + jitter(tries++, 2, 30), until);
        } else pair();
      });
    });
  }

  /** Once a second: the clock and the countdown. */
  function pulse() {
    var now = new Date(), left = Math.ceil((codeUntil - now) / 1000);
    function two(n) { return (n < 10 ? "0" : "") + n; }
    put("clock", two(now.getHours()) + ":" + two(now.getMinutes()));
    put("left", left > 0 ? states.refresh.replace("{time}", (left / 60 | 0) + ":" + two(left % 60)) : "");
    if (reloadBy && (!guests || now > reloadBy)) location.reload();
    // A few pixels round and round, so that no picture burns into the screen.
    var angle = (now / 60000 | 0) % 8 * Math.PI / 4;
    by("wall").style.transform =
      "translate(" + Math.round(6 * Math.cos(angle)) + "px, " + Math.round(6 * Math.sin(angle)) + "px)";
  }

  function start() {
    var picture = document.createElement("img"), code = by("code");
    picture.id = "picture";
    picture.className = "code";
    picture.alt = states.qr;
    picture.hidden = true;
    code.parentNode.replaceChild(picture, code);
    by("simulated").hidden = !/^(true|1|yes)$/i.test(meta("simulated"));
    identify();
    if (name) put("label", words.screen.replace("{label}", name));
    sayState("starting");
    window.addEventListener("hashchange", function () { location.reload(); });
    pulse();
    setInterval(pulse, 1000);
    if (name && secret) next();
    else if (isTyped) say(words.unknown, words.unknown_hint);
    else pair(false);
    drawn();
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
