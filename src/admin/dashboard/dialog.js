// Confirmations. Nothing is changed without one.

import { h } from "./dom.js";
import { Unauthorized } from "./api.js";

const dialog = document.getElementById("dialog");

/**
 * Asks before `run`, an asynchronous function; shows why it failed, and stays open then. Returns whether it was done.
 */
export function ask({ title, text, fields = [], button, run }) {
  return new Promise((resolve) => {
    const problem = h("pre", { class: "problem", role: "alert", hidden: true });
    const confirm = h("button", { type: "submit", class: "primary", text: button });
    let done = false;
    const form = h("form", { onsubmit: submit },
      h("h2", { id: "dialog-title", text: title }), h("p", { text }), ...fields, problem,
      h("div", { class: "buttons" }, h("button", { type: "button", text: "Cancel", onclick: () => dialog.close() }), confirm));

    async function submit(event) {
      event.preventDefault();
      confirm.disabled = true;
      try {
        await run();
        done = true;
        dialog.close();
      } catch (error) {
        problem.hidden = false;
        problem.textContent = error instanceof Unauthorized ? "The token is no longer valid." : error.message;
        confirm.disabled = false;
      }
    }
    dialog.replaceChildren(form);
    dialog.addEventListener("close", () => resolve(done), { once: true });
    dialog.showModal();
  });
}
