// Keeps an open page up to date: reads it again when there is news, and changes what differs.
// Focus, selection, scroll, open details and half-filled forms stay as they are.
"use strict";
(() => {
  const DEBOUNCE = 150, RETRY = 3000, CLOCK = 30; // milliseconds, milliseconds, seconds
  const { body } = document;
  const state = document.getElementById("state");
  let { after, jobs, every } = body.dataset;
  let source, timer, retry, clock, isBusy = false, isStale = false, isRefused = false;

  const say = (text) => {
    if (state.textContent !== text) state.textContent = text;
    state.classList.toggle("live", text === "live");
  };

  // --- the page as it is, changed to the page as it should be ---

  const keyOf = (node) => (node.nodeType === 1 && (node.dataset.key || node.id)) || "";

  const areAlike = (one, other) =>
    one.nodeType === other.nodeType && one.nodeName === other.nodeName
    && keyOf(one) === keyOf(other);

  const isSelected = (node) => {
    const selection = getSelection();
    return !selection.isCollapsed && selection.containsNode(node, true);
  };

  const morph = (old, fresh) => {
    if (old.isEqualNode(fresh)) return;
    if (old.nodeType !== 1) {
      if (!isSelected(old)) old.nodeValue = fresh.nodeValue;
      return;
    }
    if (old.nodeName === "FORM" && old.contains(document.activeElement)) return;
    for (const { name, value } of fresh.attributes) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    for (const { name } of [...old.attributes]) {
      if (name !== "open" && !fresh.hasAttribute(name)) old.removeAttribute(name);
    }
    morphChildren(old, fresh);
  };

  const remove = (node) => {
    if (!node.contains(document.activeElement)) node.remove();
  };

  const morphChildren = (old, fresh) => {
    const keys = new Set([...fresh.childNodes].map(keyOf));
    // First, so that what stays need not move: a node that moves loses the focus.
    [...old.childNodes].filter((each) => !keys.has(keyOf(each))).forEach(remove);
    let at = old.firstChild;
    for (const want of [...fresh.childNodes]) {
      const have = keyOf(want) ? [...old.childNodes].find((each) => areAlike(each, want)) : at;
      if (!have || !areAlike(have, want)) {
        old.insertBefore(document.adoptNode(want), at);
        continue;
      }
      if (have === at) at = at.nextSibling;
      else old.insertBefore(have, at);
      morph(have, want);
    }
    while (at) {
      const next = at.nextSibling;
      remove(at);
      at = next;
    }
  };

  // --- when to look ---

  const later = () => {
    clearTimeout(timer);
    timer = setTimeout(refresh, DEBOUNCE * (1 + Math.random())); // not all pages at once
  };

  const refresh = async () => {
    isStale = isBusy || document.hidden;
    if (isStale) return;
    isBusy = true;
    try {
      const answer = await fetch(body.dataset.here, { headers: { Accept: "text/html" } });
      if (answer.status === 401 || answer.status === 403) location.reload();
      if (answer.ok) show(new DOMParser().parseFromString(await answer.text(), "text/html"));
    } catch {
      say("not reached; trying again"); // the stream comes back, and brings the news
    } finally {
      isBusy = false;
      if (isStale) later();
    }
  };

  const show = (page) => {
    jobs = page.body.dataset.jobs;
    if (every !== page.body.dataset.every) {
      every = page.body.dataset.every;
      setClock();
    }
    for (const old of document.querySelectorAll("[data-live]")) {
      const fresh = page.getElementById(old.id);
      if (fresh) morph(old, fresh);
    }
  };

  const setClock = () => {
    clearInterval(clock);
    clock = setInterval(refresh, 1000 * (every || CLOCK));
  };

  const concerns = (news) =>
    !jobs || !news.jobs || JSON.parse(jobs).some((each) => news.jobs.includes(each));

  const disconnect = () => {
    clearTimeout(retry);
    if (source) source.close();
  };

  const connect = () => {
    disconnect();
    source = new EventSource(`${body.dataset.events}?after=${encodeURIComponent(after)}`);
    source.onopen = () => {
      say("live");
      isRefused = false;
    };
    source.onmessage = (event) => {
      after = event.lastEventId;
      if (concerns(JSON.parse(event.data))) later();
    };
    source.onerror = () => {
      say("not reached; trying again");
      if (source.readyState !== EventSource.CLOSED) return;
      retry = setTimeout(connect, RETRY);
      if (!isRefused) refresh(); // a page that has lost its access shows nothing more
      isRefused = true; // a service that is ill is not asked for pages, too
    };
  };

  // A browser has few connections to one server: a page that nobody sees holds none.
  document.addEventListener("visibilitychange", () => {
    disconnect();
    if (document.hidden) return;
    connect();
    refresh();
  });
  setClock();
  connect();
})();
