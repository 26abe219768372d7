// The dashboard: navigation, login, and the connection to the process.

import * as api from "./api.js";
import { ask } from "./dialog.js";
import { h, setAttribute, setText } from "./dom.js";
import { duration } from "./format.js";
import { load, refresh, start, stop, store, subscribe } from "./store.js";
import * as overview from "./overview.js";
import * as pools from "./pools.js";
import * as listeners from "./listeners.js";
import * as events from "./events.js";
import * as config from "./config.js";
import * as explain from "./explain.js";

const PAGES = new Map([["", overview], ["pools", pools], ["listeners", listeners], ["events", events], ["config", config], ["explain", explain]]);

const main = document.getElementById("main");
const nav = document.getElementById("nav");
const live = document.getElementById("live");
const notice = document.getElementById("notice");
const reload = document.getElementById("reload");
const theme = document.getElementById("theme");

let current = null;
let isDrawn = false;

function show() {
  const [name, query] = location.hash.replace(/^#\/?/, "").split("?");
  const module = PAGES.get(name) ?? overview;
  current = module.page(new URLSearchParams(query));
  current.update();
  main.replaceChildren(current.element);
  document.title = `${module.title} · Evenkeel`;
  for (const link of nav.children) setAttribute(link, "aria-current", link.getAttribute("href") === `#/${name}` ? "page" : null);
}

/** Draws at most once a frame, and not at all while nobody looks. */
function draw() {
  if (isDrawn || current === null) return;
  isDrawn = true;
  const now = () => {
    isDrawn = false;
    if (current === null) return;
    current.update();
    frame();
  };
  if (document.hidden) setTimeout(now, 1000);
  else requestAnimationFrame(now);
}

/** The parts around the page. */
function frame() {
  const { process } = store.status;
  setText(document.getElementById("footer"), `Evenkeel ${process.version} · ${process.config.source} · running for ${duration(process.uptime_seconds)}`);
  if (live.className !== "lost") connected();
}

function connected() {
  const { ready } = store.status.process;
  live.className = ready ? "ready" : "unready";
  setText(live, ready ? "● Ready" : "▲ Not ready");
}

function report(error) {
  if (error === null) {
    connected();
    notice.hidden = true;
  } else if (error instanceof api.Unauthorized) {
    login("The token is no longer valid.");
  } else if (error instanceof api.Refused) {
    live.className = "lost";
    setText(live, "■ Not live");
    notice.hidden = false;
    setText(notice, `The process refuses a part of the figures. Trying again… (${error.message})`);
  } else {
    live.className = "lost";
    setText(live, "■ Not connected");
    notice.hidden = false;
    setText(notice, `The process does not respond; figures are from before. Trying again… (${error.message})`);
  }
}

async function begin() {
  try {
    await load();
  } catch (error) {
    if (error instanceof api.Unauthorized) login(api.hasToken() ? "The process does not accept this token." : "");
    else fail(error);
    return;
  }
  nav.replaceChildren(...[...PAGES].map(([name, module]) => h("a", { href: `#/${name}`, text: module.title })));
  reload.hidden = false;
  notice.hidden = true;
  connected();
  frame();
  show();
  start(report);
}

function fail(error) {
  live.className = "lost";
  setText(live, "■ Not connected");
  main.replaceChildren(h("p", { class: "note", text: `The admin API does not respond: ${error.message}. Trying again in 3 seconds.` }));
  setTimeout(begin, 3000);
}

function login(problem) {
  stop();
  current = null;
  api.setToken(null);
  nav.replaceChildren();
  reload.hidden = notice.hidden = true;
  setText(live, "");
  const input = h("input", { id: "token", type: "password", required: true, autocomplete: "off" });
  const form = h("form", {
    class: "login",
    onsubmit(event) {
      event.preventDefault();
      const token = input.value.trim();
      // A header can hold no other characters, and no token in a config has them.
      if (/^[\x21-\x7e]+$/.test(token)) {
        api.setToken(token);
        begin();
      } else login("A token consists of visible ASCII characters.");
    },
  }, h("h1", { text: "Log in" }), h("label", { for: "token", text: "Token of the admin API" }), input,
  h("p", { class: "note", text: "It is kept in the memory of this page only." }),
  problem ? h("p", { class: "problem", role: "alert", text: problem }) : null,
  h("button", { type: "submit", class: "primary", text: "Log in" }));
  main.replaceChildren(form);
  input.focus();
}

/** What is remembered for the next visit; nothing, where the browser allows no storage. */
function remembered(key, value) {
  try {
    if (value !== undefined) localStorage.setItem(key, value);
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

/** Follows the system until somebody switches. */
function dark(isDark) {
  document.documentElement.dataset.theme = isDark ? "dark" : "light";
  theme.setAttribute("aria-pressed", isDark);
}

theme.addEventListener("click", () => {
  const isDark = document.documentElement.dataset.theme !== "dark";
  remembered("theme", isDark ? "dark" : "light");
  dark(isDark);
});
const system = matchMedia("(prefers-color-scheme: dark)");
system.addEventListener("change", () => remembered("theme") === null && dark(system.matches));
dark((remembered("theme") ?? (system.matches ? "dark" : "light")) === "dark");

reload.addEventListener("click", async () => {
  const isDone = await ask({
    title: "Reload the config?",
    text: `${store.status.process.config.source} is read again. A config with errors changes nothing; what did not change is not touched.`,
    button: "Reload",
    run: () => api.send("POST", "/api/v1/reload"),
  });
  if (isDone) await refresh();
});

window.addEventListener("hashchange", () => {
  if (current === null) return;
  show();
  main.focus();
});
subscribe(draw);
begin();
