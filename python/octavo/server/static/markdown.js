/* Markdown to DOM nodes (the common part of CommonMark and GitHub's tables). A text grows while it is shown, so blocks that did not
   change keep their nodes: selections in them stay, and a long answer costs no more than its last block. */

import { button, copy, element } from "/static/dom.js";

const FENCE = /^ {0,3}(```+|~~~+)\s*([^\s`]*)/;
const HEADING = /^ {0,3}(#{1,6})\s+(.*?)\s*#*\s*$/;
const RULE = /^ {0,3}([-*_])(\s*\1){2,}\s*$/;
const ITEM = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/;
const QUOTE = /^ {0,3}>\s?/;
const TABLE_RULE = /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;
const INLINE = /(`+)(?<code>[\s\S]*?[^`])\1(?!`)|\*\*(?<strong>(?=\S)[\s\S]*?\S)\*\*|~~(?<struck>(?=\S)[\s\S]*?\S)~~|(?<![\w*])\*(?<em>(?=[^\s*])[\s\S]*?[^\s*])\*(?!\*)|(?<!\w)_(?<em2>(?=[^\s_])[\s\S]*?[^\s_])_(?!\w)|!?\[(?<label>[^\]\n]*)\]\((?<target>[^)\s]+)(?:\s+"[^"]*")?\)|(?<bare>https?:\/\/[^\s<>"')\]]+)|\\(?<escaped>[\\`*_{}[\]()#+\-.!~|>])/g;

export function render(target, text) {
  const blocks = parse(text.split("\n"));
  const shown = target.blocks ?? [];
  let same = 0;
  while (same < blocks.length && same < shown.length && blocks[same].source === shown[same]) same += 1;
  while (target.childNodes.length > same) target.lastChild.remove();
  for (const block of blocks.slice(same)) target.append(block.make());
  target.blocks = blocks.map(block => block.source);
}

/* Lines to blocks: {source, make}. */
function parse(lines) {
  const blocks = [];
  let at = 0;
  while (at < lines.length) {
    const line = lines[at];
    if (!line.trim()) { at += 1; continue; }
    const start = at;
    let make;
    if (FENCE.test(line)) [at, make] = fence(lines, at);
    else if (HEADING.test(line)) { at += 1; make = () => heading(line); }
    else if (RULE.test(line)) { at += 1; make = () => element("hr"); }
    else if (QUOTE.test(line)) [at, make] = quote(lines, at);
    else if (ITEM.test(line)) [at, make] = list(lines, at);
    else if (line.includes("|") && TABLE_RULE.test(lines[at + 1] ?? "")) [at, make] = table(lines, at);
    else [at, make] = paragraph(lines, at);
    blocks.push({ source: lines.slice(start, at).join("\n"), make });
  }
  return blocks;
}

function fence(lines, at) {
  const [, mark, language] = FENCE.exec(lines[at]);
  let end = at + 1;
  while (end < lines.length && !lines[end].trim().startsWith(mark)) end += 1;
  const code = lines.slice(at + 1, end).join("\n");
  return [Math.min(end + 1, lines.length), () => {
    const block = element("div", "block", element("pre", "", element("code", "", code)));
    block.append(button("Copy", "plain", made => copy(code, made)));
    if (language) block.firstChild.setAttribute("aria-label", `${language} code`);
    return block;
  }];
}

function heading(line) {
  const [, marks, text] = HEADING.exec(line);
  return inline(element(`h${Math.min(marks.length + 2, 6)}`), text);
}

function quote(lines, at) {
  let end = at;
  while (end < lines.length && QUOTE.test(lines[end])) end += 1;
  const inner = lines.slice(at, end).map(line => line.replace(QUOTE, ""));
  return [end, () => nested(element("blockquote"), inner)];
}

function list(lines, at) {
  const [, indent, mark] = ITEM.exec(lines[at]);
  const ordered = /\d/.test(mark);
  const items = [];
  let end = at;
  for (; end < lines.length; end += 1) {
    const found = ITEM.exec(lines[end]);
    if (found && found[1].length <= indent.length + 1 && /\d/.test(found[2]) === ordered) items.push([found[3]]);
    else if (!lines[end].trim() ? /^\s+\S/.test(lines[end + 1] ?? "") || ITEM.test(lines[end + 1] ?? "") : /^\s+/.test(lines[end])) {
      items.at(-1).push(lines[end].replace(/^ {1,4}/, ""));
    } else if (lines[end].trim() && !found && !begins(lines[end])) items.at(-1).push(lines[end]);
    else break;
  }
  return [end, () => {
    const made = element(ordered ? "ol" : "ul");
    if (ordered) made.start = parseInt(mark, 10);
    for (const item of items) made.append(nested(element("li"), item));
    return made;
  }];
}

function begins(line) {
  return [FENCE, HEADING, RULE, QUOTE, ITEM].some(form => form.test(line));
}

function nested(target, lines) {
  const blocks = parse(lines);
  if (blocks.length === 1 && target.tagName === "LI" && !begins(lines[0])) return inline(target, lines.join("\n"));
  for (const block of blocks) target.append(block.make());
  return target;
}

function table(lines, at) {
  let end = at + 2;
  while (end < lines.length && lines[end].includes("|") && lines[end].trim()) end += 1;
  return [end, () => {
    const rows = [lines[at], ...lines.slice(at + 2, end)].map(cells);
    const made = element("table", "", element("thead", "", row(rows[0], "th")));
    made.append(element("tbody", "", ...rows.slice(1).map(one => row(one, "td"))));
    return element("div", "wide", made);
  }];
}

function cells(line) {
  return line.trim().replace(/^\||(?<!\\)\|$/g, "").split(/(?<!\\)\|/).map(cell => cell.trim());
}

function row(texts, tag) {
  return element("tr", "", ...texts.map(text => inline(element(tag), text)));
}

function paragraph(lines, at) {
  let end = at + 1;
  while (end < lines.length && lines[end].trim() && !begins(lines[end])) end += 1;
  const text = lines.slice(at, end).join("\n");
  return [end, () => inline(element("p"), text)];
}

function inline(target, text) {
  let at = 0;
  for (const found of text.matchAll(INLINE)) {
    target.append(text.slice(at, found.index), span(found));
    at = found.index + found[0].length;
  }
  target.append(text.slice(at));
  return target;
}

function span(found) {
  const { code, strong, struck, em, em2, label, target, bare, escaped } = found.groups;
  if (code !== undefined) return element("code", "", code.replace(/^ (.+) $/s, "$1"));
  if (strong) return inline(element("strong"), strong);
  if (struck) return inline(element("del"), struck);
  if (em ?? em2) return inline(element("em"), em ?? em2);
  if (escaped) return escaped;
  return link(target ?? bare, label || target || bare, found[0]);
}

/* Only addresses that a person would follow knowingly become links. */
function link(address, label, source) {
  if (!/^(https?:\/\/|mailto:)/i.test(address)) return source;
  const made = element("a", "", label);
  made.href = address;
  made.rel = "noopener noreferrer nofollow";
  made.target = "_blank";
  return made;
}
