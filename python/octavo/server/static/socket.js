/* Requests over the server's WebSocket /v1/stream: each has an id, its chunks come back under it, the last word is `done`. */

let socket = null;
let opened = null;
let lastId = 0;
const running = new Map(); // id -> {chunk, end}

function connect() {
  if (socket && socket.readyState <= WebSocket.OPEN) return opened;
  const address = new URL("/v1/stream", location.href);
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  const made = new WebSocket(address); // with the browser's credentials for this server, where it asked for some
  socket = made;
  opened = new Promise((resolve, reject) => {
    made.addEventListener("open", resolve);
    made.addEventListener("error", () => reject(new Error("The server cannot be reached.")));
  });
  made.addEventListener("message", event => receive(JSON.parse(event.data)));
  made.addEventListener("close", () => {
    for (const one of running.values()) one.end(new Error("The connection to the server was lost."));
    running.clear();
  });
  return opened;
}

function receive(message) {
  const one = running.get(message.id);
  if (!one) return;
  if (message.type === "chunk") one.chunk(message.data);
  else if (message.type === "error") one.error = new Error(message.error.message);
  else {
    running.delete(message.id);
    one.end(one.error ?? null, message.aborted);
  }
}

/* Send a chat-completions body; resolves to whether it was stopped, rejects with what went wrong. `signal` stops it. */
export async function generate(body, chunk, signal) {
  await connect();
  const id = ++lastId;
  return new Promise((resolve, reject) => {
    running.set(id, { chunk, end: (error, aborted) => (error ? reject(error) : resolve(aborted)) });
    signal.addEventListener("abort", () => socket.send(JSON.stringify({ type: "abort", id })));
    socket.send(JSON.stringify({ ...body, id }));
  });
}
