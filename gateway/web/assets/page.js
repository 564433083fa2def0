// Keeps a page as it is on the gateway: sections by server-sent events, ages by counting, and the truth when that stops.
"use strict";
(() => {
  const body = document.body;
  const STALE_MS = 6000, RETRY_MS = 3000;
  const forms = (body.dataset.ages || "").split("|");
  const lengths = [86400, 3600, 60, 1];
  const zone = Number(body.dataset.zone); // minutes east of UTC
  let offset = Number(body.dataset.now) - Date.now(); // the gateway's clock, as seen from here
  let heard = performance.now(), right = Date.now(), stale = false, source = null, timer = 0;

  // -- ages ---------------------------------------------------------------------------------------------------------
  const age = (ms) => {
    const seconds = Math.max(0, Math.floor((Date.now() + offset - ms) / 1000));
    const at = lengths.findIndex((length, place) => seconds >= 2 * length || place === 3);
    return forms[at].replace("{n}", Math.floor(seconds / lengths[at]));
  };
  const clock = (ms) => new Date(ms + offset + zone * 60000).toISOString().slice(11, 19); // as the gateway's own clock
  const count = (root) => {
    for (const one of root.querySelectorAll("time[data-ms]")) {
      const text = age(Number(one.dataset.ms));
      if (one.textContent !== text) one.textContent = text;
    }
  };

  // -- the same elements, brought up to date ------------------------------------------------------------------------
  const key = (node) => (node.nodeType === 1 ? node.id || node.dataset.key || "" : "");
  const kept = (name) => name === "open" || name === "disabled";
  const attributes = (from, to) => {
    for (const { name } of [...from.attributes]) if (!to.hasAttribute(name) && !kept(name)) from.removeAttribute(name);
    for (const { name, value } of to.attributes) if (from.getAttribute(name) !== value) from.setAttribute(name, value);
  };
  const alike = (a, b) => a && a.nodeType === b.nodeType && a.nodeName === b.nodeName && key(a) === key(b);
  const morph = (from, to) => {
    if (from.nodeType !== 1) {
      if (from.data !== to.data) from.data = to.data;
      return;
    }
    attributes(from, to);
    if (from.dataset && from.dataset.ms) return; // its text is counted
    if (from.nodeName === "INPUT") return; // somebody may be typing
    let at = from.firstChild;
    const wanted = new Set([...to.childNodes].map(key).filter(Boolean));
    for (const next of [...to.childNodes]) {
      while (at && key(at) && !wanted.has(key(at))) {
        const gone = at;
        at = at.nextSibling;
        gone.remove();
      }
      if (alike(at, next)) {
        morph(at, next);
        at = at.nextSibling;
        continue;
      }
      const same = key(next) && [...from.children].find((one) => alike(one, next));
      if (same) morph(same, next);
      from.insertBefore(same || next, at);
    }
    while (at) {
      const gone = at;
      at = at.nextSibling;
      gone.remove();
    }
  };
  const update = ({ id, html }) => {
    const part = document.getElementById("part-" + id);
    if (!part) return location.reload();
    const made = document.createElement("template");
    made.innerHTML = html;
    const shell = part.cloneNode(false);
    shell.append(made.content);
    morph(part, shell);
    count(part);
  };

  // -- still right? -------------------------------------------------------------------------------------------------
  const asof = document.getElementById("asof");
  const banner = document.getElementById("stale");
  const say = (now) => {
    if (now === stale) return;
    stale = now;
    body.classList.toggle("old", stale);
    banner.hidden = !stale;
    banner.textContent = stale ? body.dataset.stale.replace("{time}", clock(right)) : "";
  };
  const alive = (told) => {
    if (told.build !== body.dataset.build) return location.reload();
    offset = told.now - Date.now();
    heard = performance.now();
    right = Date.now();
    say(false);
  };

  const stop = () => {
    clearTimeout(timer);
    if (source) source.close();
    source = null;
  };
  const start = () => {
    stop();
    source = new EventSource(body.dataset.live);
    source.addEventListener("hello", (event) => alive(JSON.parse(event.data)));
    source.addEventListener("beat", (event) => alive(JSON.parse(event.data)));
    source.addEventListener("part", (event) => update(JSON.parse(event.data)));
    source.addEventListener("gone", () => location.reload());
    source.onerror = () => {
      say(true);
      if (source && source.readyState === EventSource.CLOSED) timer = setTimeout(again, RETRY_MS);
    };
  };
  // Refused: full for the moment, or this session is over, or the page is not there any more.
  const again = async () => {
    try {
      const answer = await fetch(location.href, { redirect: "manual", cache: "no-store" });
      if (answer.type === "opaqueredirect" || answer.status === 401 || answer.status === 404) return location.reload();
    } catch {
      // away: EventSource asks again below
    }
    start();
  };

  if (body.dataset.live) {
    start();
    setInterval(() => {
      count(document);
      if (!stale && asof) asof.textContent = clock(Date.now());
      if (source && performance.now() - heard > STALE_MS) say(true);
    }, 1000);
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) return stop(); // a browser has few connections
      heard = performance.now();
      start();
    });
    addEventListener("pagehide", stop);
    addEventListener("pageshow", (event) => event.persisted && start());
  }

  for (const form of document.querySelectorAll("form[data-busy]"))
    form.addEventListener("submit", () => {
      const button = form.querySelector("button");
      button.disabled = true;
      button.textContent = form.dataset.busy;
    });
})();
