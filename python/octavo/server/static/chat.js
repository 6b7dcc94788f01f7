/* The chat page: what happens when something is pressed. Chats live in store.js, answers in answer.js, their looks in turns.js. */

import { Answer, requestBody } from "/static/answer.js";
import { $, button, element } from "/static/dom.js";
import { Images } from "/static/images.js";
import { loadChats, loadSettings, newChat, saveChats, saveSettings } from "/static/store.js";
import { AnswerTurn, userTurn } from "/static/turns.js";

const FIELDS = ["system", "temperature", "max_tokens", "top_p", "top_k", "min_p", "top_n_sigma", "min_tokens", "repetition_penalty", "presence_penalty", "frequency_penalty", "seed", "stop"];
const PAINT_MS = 50;

let settings = loadSettings();
let chats = loadChats();
let chat = chats[0] ?? newChat();
let running = null; // the Answer on its way
let models = [];
const images = new Images(busy);

// ---- the list of chats ----

function showChats() {
  $("chats").replaceChildren(...chats.map(one => {
    const item = element("li", "", button(one.title, "plain", () => open(one)), button("✕", "plain", () => remove(one)));
    item.lastChild.setAttribute("aria-label", `Delete ${one.title}`);
    if (one === chat) item.setAttribute("aria-current", "true");
    return item;
  }));
}

function keep() {
  chats = [chat, ...chats.filter(one => one !== chat && one.messages.length)];
  saveChats(chats);
  showChats();
}

function open(one) {
  running?.stop();
  chat = one;
  drawer(false);
  showTurns();
  showChats();
  $("prompt").focus();
}

function remove(one) {
  chats = chats.filter(other => other !== one);
  saveChats(chats);
  if (one === chat) open(chats[0] ?? newChat());
  else showChats();
}

function drawer(on) {
  $("drawer").classList.toggle("open", on);
  $("drawer-open").setAttribute("aria-expanded", String(on));
}

// ---- the conversation ----

function showTurns() {
  const turns = chat.messages.map((message, index) => {
    const last = index === chat.messages.length - 1;
    if (message.role === "user") return userTurn(message, text => resend(index, text, message.images));
    const turn = new AnswerTurn();
    turn.show(message.content, message.reasoning ?? "", message.facts ?? "");
    turn.finish(message, last ? () => again() : null);
    return turn.node;
  });
  $("turns").replaceChildren(...(turns.length ? turns : [emptiness()]));
  $("scroll").scrollTop = $("scroll").scrollHeight;
}

function emptiness() {
  const made = element("div", "", element("h2", "", "Say something."), element("p", "", "The model on this server answers; no other service is asked."));
  made.id = "empty";
  return made;
}

function send(text, shown = []) {
  if (!chat.messages.length) chat.title = text.split("\n")[0].slice(0, 60);
  chat.messages.push(shown.length ? { role: "user", content: text, images: shown } : { role: "user", content: text });
  keep();
  showTurns();
  answer();
}

function resend(index, text, shown) {
  running?.stop();
  chat.messages = chat.messages.slice(0, index);
  send(text, shown);
}

function again() {
  chat.messages.pop();
  showTurns();
  answer();
}

async function answer() {
  const asked = chat;
  const turn = new AnswerTurn();
  const run = new Answer();
  running = run;
  busy();
  follow(() => $("turns").append(turn.node), true);
  const paint = () => run.changed && follow(() => {
    run.changed = false;
    turn.show(run.text, run.reasoning, run.describe());
  });
  const painter = setInterval(paint, PAINT_MS);
  try {
    await run.run(requestBody(settings, asked.messages, $("model").value || undefined));
  } catch (error) {
    follow(() => turn.fail(error.message));
  }
  clearInterval(painter);
  paint();
  conclude(asked, run, turn);
}

function conclude(asked, run, turn) {
  if (run.text || run.reasoning) {
    const message = { role: "assistant", content: run.text, reasoning: run.reasoning, facts: run.describe(), tokens: run.tokens };
    asked.messages.push(message);
    turn.finish(message, asked === chat ? () => again() : null);
  } else if (asked === chat && !$("prompt").value) {
    const unsent = asked.messages.pop(); // the turn can be sent again
    $("prompt").value = unsent?.content ?? "";
    images.set(unsent?.images ?? []);
    turn.text.remove();
  }
  if (running === run) running = null;
  keep();
  busy();
  if (asked === chat && matchMedia("(hover: hover)").matches) $("prompt").focus();
}

function follow(change, always = false) {
  const pane = $("scroll");
  const atEnd = always || pane.scrollHeight - pane.scrollTop - pane.clientHeight < 60;
  change();
  if (atEnd) pane.scrollTop = pane.scrollHeight;
}

function busy() {
  const box = $("prompt");
  $("go").textContent = running ? "Stop" : "Send";
  $("go").disabled = !running && !box.value.trim();
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight + 2}px`;
}

// ---- settings and models ----

function showSettings() {
  for (const name of FIELDS) if (settings[name] !== undefined) $(name).value = settings[name];
  $("logprobs").checked = Boolean(settings.logprobs);
  $("settings").showModal();
}

async function showModels() {
  let response;
  try {
    response = await fetch("/v1/models");
  } catch {
    return $("model").replaceChildren(element("option", "", "The server cannot be reached"));
  }
  const document = await response.json().catch(() => null);
  if (!response.ok) {
    const reason = document?.error?.message ?? `The server answered ${response.status}.`;
    return $("model").replaceChildren(element("option", "", reason));
  }
  models = document.data;
  $("model").replaceChildren(...models.map(model => {
    const option = element("option", "", model.id);
    option.value = model.id;
    return option;
  }));
  chooseModel();
}

function chooseModel() {
  const chosen = models.find(model => model.id === $("model").value);
  images.allow(chosen?.input_modalities?.includes("image") ?? false);
}

// ---- what is pressed ----

$("form").addEventListener("submit", event => {
  event.preventDefault();
  if (running) return running.stop();
  const text = $("prompt").value.trim();
  if (!text) return;
  $("prompt").value = "";
  send(text, images.take());
});
$("model").addEventListener("change", chooseModel);
$("prompt").addEventListener("input", busy);
$("prompt").addEventListener("keydown", event => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    if (!running) $("form").requestSubmit();
  }
});
document.addEventListener("keydown", event => {
  if (event.key === "Escape" && !$("settings").open) {
    running?.stop();
    drawer(false);
  }
});
$("new").addEventListener("click", () => open(newChat()));
$("drawer-open").addEventListener("click", () => drawer(!$("drawer").classList.contains("open")));
$("settings-open").addEventListener("click", showSettings);
$("settings").addEventListener("close", () => {
  settings = Object.fromEntries(FIELDS.map(name => [name, $(name).value]));
  settings.logprobs = $("logprobs").checked;
  saveSettings(settings);
});
$("export").addEventListener("click", () => {
  const file = new Blob([JSON.stringify(chat, null, 1)], { type: "application/json" });
  const link = element("a");
  link.href = URL.createObjectURL(file);
  link.download = "chat.json";
  link.click();
});

showChats();
showTurns();
busy();
showModels();
