/* Small helpers to build the page. Text is always set as text: nothing that a model writes becomes HTML. */

export const $ = id => document.getElementById(id);

export function element(tag, className = "", ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

export function button(label, className, action) {
  const made = element("button", className, label);
  made.type = "button";
  made.addEventListener("click", () => action(made));
  return made;
}

export async function copy(text, made) {
  await navigator.clipboard.writeText(text);
  const label = made.textContent;
  made.textContent = "Copied";
  setTimeout(() => { made.textContent = label; }, 1200);
}
