/* An answer token by token, with the probability of each and of what might have stood there instead. */

import { element } from "/static/dom.js";

let tip = null;

/* tokens: [{text, logprob, top: [[text, logprob]]}] */
export function tokenView(tokens) {
  const view = element("div", "tokens");
  for (const token of tokens) {
    const made = element("span", "", token.text);
    made.style.setProperty("--doubt", (1 - Math.exp(token.logprob)).toFixed(2));
    made.tabIndex = 0;
    made.setAttribute("aria-label", `${token.text}, ${percent(token.logprob)}`);
    for (const kind of ["mouseenter", "focus"]) made.addEventListener(kind, () => show(made, token));
    for (const kind of ["mouseleave", "blur"]) made.addEventListener(kind, hide);
    view.append(made);
  }
  return view;
}

function show(target, token) {
  hide();
  const rows = token.top.length ? token.top : [[token.text, token.logprob]];
  const table = element("table", "", ...rows.map(([text, logprob]) =>
    element("tr", "", element("td", "", JSON.stringify(text)), element("td", "", percent(logprob)))));
  tip = element("div", "", table);
  tip.id = "tip";
  tip.setAttribute("role", "tooltip");
  document.body.append(tip);
  const box = target.getBoundingClientRect();
  tip.style.left = `${Math.max(8, Math.min(box.left, innerWidth - tip.offsetWidth - 8))}px`;
  tip.style.top = `${box.bottom + tip.offsetHeight + 8 < innerHeight ? box.bottom + 6 : box.top - tip.offsetHeight - 6}px`;
}

function hide() {
  tip?.remove();
  tip = null;
}

function percent(logprob) {
  return `${(100 * Math.exp(logprob)).toFixed(1)} %`;
}
