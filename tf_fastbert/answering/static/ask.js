// What the page does better with JavaScript: it asks without loading itself again, Ctrl+Enter asks, and a candidate that is
// clicked is marked in the passage. All texts are put in as text, never as HTML of our own making.
"use strict";

const form = document.getElementById("ask");
const button = form.querySelector("button[type=submit]");
const status = document.getElementById("status");
let busy = false;

function scrollToMark(passage) {
  const mark = passage.querySelector("mark");
  if (mark) {
    passage.scrollTop = mark.offsetTop - passage.clientHeight / 2;
  }
}

// Offsets count code points, JavaScript's strings count UTF-16 units.
function show(passage, start, end) {
  const characters = Array.from(passage.textContent);
  const mark = document.createElement("mark");
  mark.textContent = characters.slice(start, end).join("");
  passage.replaceChildren(characters.slice(0, start).join(""), mark, characters.slice(end).join(""));
  scrollToMark(passage);
}

function enrich(results) {
  results.querySelectorAll("article").forEach((article) => {
    const passage = article.querySelector(".passage");
    scrollToMark(passage);
    article.querySelectorAll(".candidate").forEach((candidate) => {
      const choice = document.createElement("button");
      choice.type = "button";
      choice.textContent = candidate.textContent;
      choice.title = "Mark it in the passage";
      choice.setAttribute("aria-pressed", String("best" in candidate.dataset));
      choice.addEventListener("click", () => {
        show(passage, Number(candidate.dataset.start), Number(candidate.dataset.end));
        article.querySelectorAll("td button").forEach((other) => other.setAttribute("aria-pressed", String(other === choice)));
        status.textContent = `Marked in the passage: ${choice.textContent}`;
      });
      candidate.replaceChildren(choice);
    });
  });
}

function fail(results, text) {
  const message = document.createElement("p");
  message.className = "error";
  message.setAttribute("role", "alert");
  message.textContent = text;
  results.querySelectorAll(":scope > :not(h2)").forEach((old) => old.remove());
  results.append(message);
}

async function ask() {
  if (busy) {
    return;
  }
  busy = true;
  button.setAttribute("aria-disabled", "true");
  button.textContent = "Asking …";
  status.textContent = "Asking";
  const results = document.getElementById("results");
  try {
    const response = await fetch(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)) });
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const fresh = page.getElementById("results");
    if (!fresh) {
      throw new Error(`status ${response.status}`);
    }
    results.replaceChildren(...fresh.childNodes);
    document.title = page.title;
    enrich(results);
  } catch (error) {
    fail(results, `Not answered. The server cannot be reached (${error.message}).`);
  }
  // To the answers, so that a keyboard or a screen reader goes on from there.
  status.textContent = "";
  document.getElementById("results-title").focus();
  button.removeAttribute("aria-disabled");
  button.textContent = "Ask";
  busy = false;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  ask();
});
form.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    form.requestSubmit(button);
  }
});
enrich(document.getElementById("results"));
