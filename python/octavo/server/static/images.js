/* The images of a message on its way: chosen, pasted or dropped, scaled down and shown beside the box until it is sent. */

import { $, button, element } from "/static/dom.js";

const MOST = 8; // of a message
const LONGEST_SIDE = 1024; // pixels: more than most towers read, and a fifth of a megabyte in the browser's storage
const QUALITY = 0.85;

export class Images {
  constructor(changed) {
    this.urls = [];
    this.changed = changed;
    $("attach").addEventListener("click", () => $("file").click());
    $("file").addEventListener("change", () => { this.add([...$("file").files]); $("file").value = ""; });
    $("prompt").addEventListener("paste", event => this.add([...event.clipboardData.files]));
    $("form").addEventListener("dragover", event => this.allowed && event.preventDefault());
    $("form").addEventListener("drop", event => {
      if (!this.allowed) return;
      event.preventDefault();
      this.add([...event.dataTransfer.files]);
    });
  }

  /* Whether the chosen model reads images. */
  allow(on) {
    this.allowed = on;
    $("attach").hidden = !on;
    if (!on) this.set([]);
  }

  async add(files) {
    if (!this.allowed) return;
    for (const file of files.filter(one => one.type.startsWith("image/"))) {
      if (this.urls.length >= MOST) return;
      try {
        this.set([...this.urls, await scaled(file)]);
      } catch {
        $("images").title = `${file.name} is not an image that this browser can read.`;
      }
    }
  }

  set(urls) {
    this.urls = urls;
    $("images").replaceChildren(...urls.map((url, index) => {
      const remove = button("✕", "plain", () => this.set(this.urls.filter((_, other) => other !== index)));
      remove.setAttribute("aria-label", `Remove image ${index + 1}`);
      return element("span", "image", picture(url, `Image ${index + 1}`), remove);
    }));
    this.changed();
  }

  take() {
    const taken = this.urls;
    this.set([]);
    return taken;
  }
}

export function picture(url, label) {
  const made = element("img");
  made.src = url;
  made.alt = label;
  return made;
}

/* As a data URI of a JPEG file. */
async function scaled(file) {
  const source = await createImageBitmap(file);
  const factor = Math.min(1, LONGEST_SIDE / Math.max(source.width, source.height));
  const canvas = element("canvas");
  canvas.width = Math.max(1, Math.round(source.width * factor));
  canvas.height = Math.max(1, Math.round(source.height * factor));
  const drawing = canvas.getContext("2d");
  drawing.fillStyle = "white"; // behind what is transparent
  drawing.fillRect(0, 0, canvas.width, canvas.height);
  drawing.drawImage(source, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/jpeg", QUALITY);
}
