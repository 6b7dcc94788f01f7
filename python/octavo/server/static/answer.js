/* One answer on its way: sends the request, gathers what comes, says how fast it was. */

import { generate } from "/static/socket.js";

const NUMBERS = ["temperature", "max_tokens", "top_p", "top_k", "min_p", "top_n_sigma", "min_tokens", "repetition_penalty", "presence_penalty", "frequency_penalty", "seed"];
const TOP_LOGPROBS = 5;

/* The body of a chat-completions request; a setting that is empty is left to the server. */
export function requestBody(settings, messages, model) {
  const system = settings.system?.trim();
  const body = {
    model,
    messages: [...(system ? [{ role: "system", content: system }] : []), ...messages.map(({ role, content, images }) => ({ role, content: shown(content, images) }))],
    stream: true,
    stream_options: { include_usage: true, continuous_usage_stats: true },
  };
  for (const name of NUMBERS) {
    const value = parseFloat(settings[name]);
    if (!Number.isNaN(value)) body[name] = value;
  }
  const stop = (settings.stop ?? "").split("\n").filter(Boolean);
  if (stop.length) body.stop = stop;
  if (settings.logprobs) Object.assign(body, { logprobs: true, top_logprobs: TOP_LOGPROBS });
  return body;
}

function shown(text, images) {
  if (!images?.length) return text;
  return [...images.map(url => ({ type: "image_url", image_url: { url } })), { type: "text", text }];
}

export class Answer {
  constructor() {
    this.text = "";
    this.reasoning = "";
    this.tokens = []; // with probabilities, where asked for
    this.count = 0;
    this.start = performance.now();
    this.first = null;
    this.end = null;
    this.changed = false;
    this.controller = new AbortController();
  }

  stop() {
    this.controller.abort();
  }

  async run(body) {
    const stopped = await generate(body, chunk => this.take(chunk), this.controller.signal);
    if (!stopped) return;
    this.end = "stopped";
    this.changed = true;
  }

  take(chunk) {
    if (chunk.usage) {
      this.count = chunk.usage.completion_tokens;
      this.prompt = chunk.usage.prompt_tokens;
      this.cached = chunk.usage.prompt_tokens_details?.cached_tokens ?? 0;
    }
    const choice = chunk.choices[0];
    if (!choice) return;
    const piece = choice.delta.content ?? "";
    const thought = choice.delta.reasoning_content ?? choice.delta.reasoning ?? "";
    if (piece || thought || choice.finish_reason) this.first ??= performance.now();
    this.text += piece;
    this.reasoning += thought;
    for (const one of choice.logprobs?.content ?? []) {
      this.tokens.push({ text: one.token, logprob: one.logprob, top: one.top_logprobs.map(other => [other.token, other.logprob]) });
    }
    this.end = choice.finish_reason ?? this.end;
    this.changed = true;
  }

  /* Speed is measured from the first token on, so that the wait before it does not blur it; the wait is shown on its own. */
  describe() {
    if (this.first === null) return "";
    const seconds = (performance.now() - this.first) / 1000;
    const parts = [`${this.count} token${this.count === 1 ? "" : "s"}`];
    if (this.count > 1 && seconds > 0.05) parts.push(`${((this.count - 1) / seconds).toFixed(1)} tokens/s`);
    parts.push(`first after ${((this.first - this.start) / 1000).toFixed(2)} s`);
    if (this.cached) parts.push(`${this.cached} of ${this.prompt} prompt tokens from cache`);
    if (this.end === "length") parts.push("cut at the token limit");
    if (this.end === "stopped") parts.push("stopped");
    return parts.join(" · ");
  }
}
