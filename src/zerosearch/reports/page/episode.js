"use strict";
/* One episode, from question to reward. What the policy wrote (trained) stands apart from what it was shown (masked). */

const TAG = /<(\/?)(think|search|information|answer)>/g;

/** Which part of the protocol each place of `text` belongs to: [{kind, from, to}]; a tag belongs to its block. */
function protocolParts(text) {
  const parts = [];
  let kind = "text", from = 0;
  const cut = (to, next) => { if (to > from) parts.push({ kind, from, to }); from = to; kind = next; };
  for (const found of text.matchAll(TAG)) {
    if (found[1]) cut(found.index + found[0].length, "text");
    else cut(found.index, found[2]);
  }
  cut(text.length, "text");
  return parts;
}

/** A probability in words. `n` are hundredths of a nat. */
function chance(n) {
  const p = 100 * Math.exp(-n / 100);
  return p >= 99.95 ? "100 %" : p >= 10 ? `${p.toFixed(0)} %` : p >= 0.1 ? `${p.toFixed(1)} %` : "below 0.1 %";
}

/** How unlikely a token was, from 0 (certain) to 4: what its background shows. */
function surprise(n) {
  const p = Math.exp(-n / 100);
  return p > 0.9 ? 0 : p > 0.5 ? 1 : p > 0.2 ? 2 : p > 0.05 ? 3 : 4;
}

/** What the policy wrote, coloured by the protocol; each token tells its probability. */
function turnElement(part, texts) {
  const text = turnText(part, texts);
  const spans = protocolParts(text).map(({ kind, from, to }) => ({ from, to, holder: make("span", { class: `say ${kind}` }) }));
  if (!part.k) {
    for (const { from, to, holder } of spans) holder.append(text.slice(from, to));
  } else {
    let at = 0, here = 0;
    part.k.forEach((number, place) => {
      let piece = texts[number];
      const n = part.p[place];
      while (piece) {
        while (spans[here].to <= at) here++;
        const head = piece.slice(0, spans[here].to - at);
        spans[here].holder.append(n === null ? head : make("span", { class: `token s${surprise(n)}`, "data-p": n }, head));
        at += head.length;
        piece = piece.slice(head.length);
      }
    });
  }
  const masked = part.own === 0 ? " masked in part" : "";
  const label = part.n === undefined ? "policy" : `policy, trained${masked}: ${part.n} tokens`;
  return make("div", { class: "turn" }, make("span", { class: "side" }, label), make("div", { class: "written" }, spans.map((s) => s.holder)));
}

function pageElement(part, texts) {
  const documents = part.docs.map(([title, text, held]) => make("li", { class: held ? "holds" : null },
    make("b", {}, texts[title] ? `${texts[title]}: ` : ""), texts[text],
    held ? make("span", { class: "badge good" }, "answer") : null));
  const tokens = part.n === undefined ? "page" : `page, masked: ${part.n} tokens`;
  return make("div", { class: `page ${part.quality}` }, make("span", { class: "side" }, tokens),
    make("div", {}, make("p", { class: "note" }, texts[part.told], make("span", { class: "engine" }, ` · ${texts[part.engine]}`)),
      documents.length ? make("ol", {}, documents) : make("p", { class: "note" }, "no documents")));
}

function promptElement(part, texts) {
  const label = `prompt, masked: ${part.n} tokens`;
  if (part.s === undefined) return make("div", { class: "prompt" }, make("span", { class: "side" }, label));
  return make("details", { class: "prompt" }, make("summary", {}, label), make("pre", {}, texts[part.s]));
}

function noteElement(part, texts) {
  return make("div", { class: "prompt" }, make("span", { class: "side" }, `note, masked: ${part.n} tokens`), make("pre", {}, texts[part.s].trim()));
}

const PARTS = { turn: turnElement, page: pageElement, prompt: promptElement, note: noteElement };

function questionElements(row, texts) {
  return [make("dt", {}, "asks"), make("dd", {}, texts[row.q]), make("dt", {}, "golden"), make("dd", {}, row.golden.map((n) => texts[n]).join(" | "))];
}

/** The whole episode; `brief`: its question stands above already. */
function episodeElement(row, texts, brief = false) {
  const good = row.em ? "good" : row.reward > 0 ? "half" : "bad";
  return make("div", { class: "episode" },
    make("h3", {}, brief ? `try ${row.try}` : `${texts[row.where]}, try ${row.try}`, make("span", { class: `badge ${good}` }, `reward ${shown(row.reward)}`)),
    make("dl", {},
      brief ? [] : questionElements(row, texts),
      make("dt", {}, "answers"), make("dd", {}, row.answer === null ? make("em", {}, "nothing") : texts[row.answer]),
      make("dt", {}, "why"), make("dd", {}, texts[row.why])),
    row.parts.map((part) => PARTS[part.t](part, texts)),
    make("p", { class: "note" }, [`EM ${shown(row.em)}`, `F1 ${shown(row.f1)}`, `${row.searches} searches`, row.tokens === null ? null : `${row.tokens} tokens`,
      row.seconds ? `${row.seconds.toFixed(1)} s` : null, `ended by ${texts[row.stop]}`, row.error === null ? null : `error: ${texts[row.error]}`, `id ${texts[row.id]}`].filter(Boolean).join(", ")));
}

/* One tooltip for all tokens: thousands of title attributes would cost more than the text. */
const hint = make("div", { class: "tip hint", role: "tooltip", hidden: true });
document.body.append(hint);
document.addEventListener("pointerover", (event) => {
  const token = event.target.closest ? event.target.closest(".token") : null;
  hint.hidden = !token;
  if (!token) return;
  const n = Number(token.dataset.p);
  hint.textContent = `probability ${chance(n)} (log-prob ${(-n / 100).toFixed(2)})`;
  const place = token.getBoundingClientRect();
  hint.style.left = `${Math.min(place.left, innerWidth - hint.offsetWidth - 8)}px`;
  hint.style.top = `${place.bottom + 6}px`;
});
