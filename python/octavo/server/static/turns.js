/* How turns of a conversation look, and what can be done with each. */

import { button, copy, element } from "/static/dom.js";
import { picture } from "/static/images.js";
import { render } from "/static/markdown.js";
import { tokenView } from "/static/tokens.js";

export function userTurn(message, onEdit) {
  const images = (message.images ?? []).map((url, index) => picture(url, `Image ${index + 1}`));
  const bubble = element("div", "bubble", ...images, message.content);
  const actions = element("div", "actions", button("Copy", "plain", made => copy(message.content, made)));
  const turn = element("article", "turn user", bubble, actions);
  turn.setAttribute("aria-label", "You");
  if (onEdit) actions.append(button("Edit", "plain", () => edit(turn, message, onEdit)));
  return turn;
}

function edit(turn, message, onEdit) {
  const shown = [...turn.children];
  const box = element("textarea");
  box.value = message.content;
  box.rows = Math.min(12, message.content.split("\n").length + 1);
  box.setAttribute("aria-label", "Edit your message");
  const cancel = () => turn.replaceChildren(...shown);
  const send = button("Send", "go small", () => box.value.trim() && onEdit(box.value.trim()));
  box.addEventListener("keydown", event => event.key === "Escape" && cancel());
  turn.replaceChildren(box, element("div", "actions", button("Cancel", "plain", cancel), send));
  box.focus();
}

/* An answer: `show` while it comes, `finish` when it is whole. */
export class AnswerTurn {
  constructor() {
    this.thought = element("details", "thought", element("summary", "", "Thinking"), element("div", "text"));
    this.thought.hidden = true;
    this.text = element("div", "text waiting");
    this.facts = element("span", "facts");
    this.actions = element("div", "actions", this.facts);
    this.node = element("article", "turn assistant", this.thought, this.text, this.actions);
    this.node.setAttribute("aria-label", "Answer");
    this.node.setAttribute("aria-busy", "true");
  }

  show(text, reasoning, facts) {
    [text, reasoning] = withoutThought(text, reasoning);
    this.thought.hidden = !reasoning;
    if (reasoning) render(this.thought.lastChild, reasoning);
    render(this.text, text);
    this.facts.textContent = facts;
  }

  finish(message, onAgain) {
    this.text.classList.remove("waiting");
    this.node.setAttribute("aria-busy", "false");
    this.actions.append(button("Copy", "plain", made => copy(message.content, made)));
    if (onAgain) this.actions.append(button("Again", "plain", onAgain));
    if (message.tokens?.length) this.actions.append(this.probabilities(message.tokens));
  }

  probabilities(tokens) {
    let view = null;
    return button("Probabilities", "plain", made => {
      if (view) view.replaceWith(this.text);
      else this.text.replaceWith((view = tokenView(tokens)));
      if (!view.isConnected) view = null;
      made.setAttribute("aria-pressed", String(view !== null));
    });
  }

  fail(reason) {
    this.text.classList.remove("waiting");
    this.node.setAttribute("aria-busy", "false");
    this.node.append(element("div", "fault", reason));
  }
}

/* A server without a parser for this model sends its thinking as text. */
function withoutThought(text, reasoning) {
  const found = /^\s*<think>([\s\S]*?)(?:<\/think>\s*|$)/.exec(text);
  return found ? [text.slice(found[0].length), reasoning + found[1].trim()] : [text, reasoning];
}
