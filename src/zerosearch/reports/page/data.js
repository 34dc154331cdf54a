"use strict";
/* The data of the page: gzipped JSON in base64, in script elements that no browser runs. */

/** The bytes of the script element `id`-data, unpacked; null where there is none. */
async function unpacked(id) {
  const holder = document.getElementById(`${id}-data`);
  if (!holder) return null;
  const text = atob(holder.textContent);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  holder.remove();
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
}

/** The episodes with an index made once: of each row its whole text, in small letters. */
function indexed(episodes) {
  const { rows, texts } = episodes;
  rows.forEach((row, place) => {
    row.place = place;
    row.key = [row.run, row.step ?? `e${row.after}`, texts[row.where], texts[row.id]].join("|");
    row.text = whole(row, texts).toLowerCase();
  });
  return episodes;
}

/** All that is written in an episode, prompt apart. */
function whole(row, texts) {
  const said = [texts[row.id], texts[row.q], ...row.golden.map((n) => texts[n])];
  if (row.answer !== null) said.push(texts[row.answer]);
  for (const part of row.parts) {
    if (part.t === "turn") said.push(turnText(part, texts));
    if (part.t !== "page") continue;
    said.push(texts[part.query]);
    for (const [title, text] of part.docs) said.push(texts[title], texts[text]);
  }
  return said.join("\n");
}

/** What the policy wrote in a turn. */
function turnText(part, texts) {
  return part.k ? part.k.map((n) => texts[n]).join("") : texts[part.s];
}
