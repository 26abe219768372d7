// Asks what would become of a request. Nothing is sent to a backend.

import { h } from "./dom.js";
import * as api from "./api.js";

export const title = "Explain";

const METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

export function page() {
  const method = h("select", { id: "method" }, ...METHODS.map((name) => h("option", { text: name })));
  const url = h("input", { id: "url", type: "text", required: true, spellcheck: "false", autocomplete: "off", placeholder: "http://example.com/path" });
  const headers = h("textarea", { id: "headers", rows: 3, spellcheck: "false", placeholder: "Cookie: name=value" });
  const client = h("input", { id: "client", type: "text", value: "127.0.0.1", spellcheck: "false" });
  const answer = h("pre", { class: "answer", tabindex: "0", role: "region", "aria-label": "Explanation", hidden: true });
  const problem = h("pre", { class: "problem", role: "alert", hidden: true });
  const form = h("form", { class: "explain", onsubmit: explain },
    field("Method", method), field("URL", url), field("Headers, one a line", headers), field("Client address", client),
    h("div", { class: "buttons" }, h("button", { type: "submit", class: "primary", text: "Explain" })));

  async function explain(event) {
    event.preventDefault();
    const question = {
      method: method.value, url: url.value.trim(), client_ip: client.value.trim(),
      headers: headers.value.split("\n").map((line) => line.trim()).filter(Boolean),
    };
    problem.hidden = answer.hidden = true;
    try {
      const response = await api.sendForText("POST", "/api/v1/explain?format=text", question);
      answer.textContent = response;
      answer.hidden = false;
      answer.focus();
    } catch (error) {
      problem.textContent = error.message || "The token is no longer valid.";
      problem.hidden = false;
    }
  }
  const element = h("div", {}, h("h1", { text: "Explain a request" }),
    h("p", { class: "note", text: "The route and why others lost, the policies in their order, the request that a backend would get, and the candidates with their scores. Nothing is sent." }),
    form, problem, answer);
  return { element, update() {} };
}

function field(label, input) {
  return h("div", { class: "field" }, h("label", { for: input.id, text: label }), input);
}
