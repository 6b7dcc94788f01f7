/* Chats and settings, kept in this browser's storage. A chat: {id, title, messages: [{role, content, images?, reasoning?, tokens?, facts?}]}. */

const CHATS = "octavo.chats";
const SETTINGS = "octavo.settings";
const MOST_CHATS = 200;

export function loadChats() {
  try {
    return JSON.parse(localStorage.getItem(CHATS) ?? "[]");
  } catch {
    return [];
  }
}

/* The oldest chats make room where the browser's storage is full. */
export function saveChats(chats) {
  const kept = chats.filter(chat => chat.messages.length).slice(0, MOST_CHATS);
  while (kept.length) {
    try {
      return localStorage.setItem(CHATS, JSON.stringify(kept));
    } catch {
      kept.pop();
    }
  }
  localStorage.removeItem(CHATS);
}

export function newChat() {
  return { id: crypto.randomUUID?.() ?? String(Math.random()), title: "New chat", messages: [] };
}

export function loadSettings() {
  return JSON.parse(localStorage.getItem(SETTINGS) ?? "{}");
}

export function saveSettings(settings) {
  localStorage.setItem(SETTINGS, JSON.stringify(settings));
}
