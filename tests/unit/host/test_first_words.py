"""What the RDP client says first, told ahead: its answers reach the client when it asks, and only for what it asks."""

from __future__ import annotations

import json
import subprocess

from sifbuild import paths

USE = """
const [module, steps] = process.argv.slice(1);
const kept = new Map();
Object.assign(globalThis, {
  CLIENT_FILE: "client-A.wasm", CLIENT_BYTES: 1, CLIENT_REST: "rest",
  location: { href: "http://node/rnode/h/1/desktop" },
  localStorage: {
    getItem: (name) => kept.get(name) ?? null,
    setItem: (name, value) => kept.set(name, value),
    removeItem: (name) => kept.delete(name),
  },
});
const words = await import(module);
const bytes = (text) => new TextEncoder().encode(text);
const told = [];
for (const visit of JSON.parse(steps)) {
  const line = new EventTarget();
  const log = [];
  line.close = () => log.push("closed");
  const known = words.kept();
  if (known) log.push(words.telling("ws?tab=1", known));
  const beginning = new words.Beginning(line, known);
  line.addEventListener("message", (event) => log.push("heard " + event.data));
  for (const step of visit) {
    const [verb, text] = step.split(" ");
    if (verb === "say") log.push((beginning.says(bytes(text)) ? "told " : "sent ") + text);
    if (verb === "answer") {
      const event = new MessageEvent("message", { data: text });
      // As the browser's own are; nothing else can make one that is.
      Object.defineProperty(event, "isTrusted", { value: true });
      line.dispatchEvent(event);
    }
  }
  told.push(log);
}
console.log(JSON.stringify([told, [...kept.keys()]]));
"""
FIRST_VISIT = ["say a\xff", "answer A", "say b", "answer B", "say c", "answer C"]
ADDRESS = "ws?tab=1&ask=YcO_&hello=Yg"


def visits(*steps: list[str]) -> tuple[list[list[str]], list[str]]:
    module = (paths.WEB / "assets/lib/first-words.js").as_uri()
    command = ["node", "--input-type=module", "--eval", USE, module, json.dumps(steps)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    told, kept = json.loads(done.stdout)
    return told, kept


def test_the_next_visit_tells_what_the_first_one_began_with() -> None:
    told, kept = visits(FIRST_VISIT, ["answer A", "answer B", *FIRST_VISIT[::2], "answer C"])
    assert told[0] == ["sent a\xff", "heard A", "sent b", "heard B", "sent c", "heard C"]
    assert told[1] == [ADDRESS, "heard A", "told a\xff", "heard B", "told b", "sent c", "heard C"]
    # A portal has many sessions at one origin.
    assert kept == ["7lbd-first-words:/rnode/h/1/"]


def test_an_answer_may_come_after_the_question_too() -> None:
    told, _ = visits(FIRST_VISIT, FIRST_VISIT)
    assert told[1] == [ADDRESS, "told a\xff", "heard A", "told b", "heard B", "sent c", "heard C"]


def test_no_answer_is_heard_before_its_question() -> None:
    told, _ = visits(FIRST_VISIT, ["answer A", "answer B", "answer B2"])
    assert told[1] == [ADDRESS]
    told, _ = visits(FIRST_VISIT, ["answer A", "answer B", "say a\xff"])
    assert told[1] == [ADDRESS, "heard A", "told a\xff"]


def test_who_says_something_else_hears_nothing_and_tells_nothing_the_next_time() -> None:
    for other in (["say x"], ["say a\xff", "say x"], ["say a"]):
        told, kept = visits(FIRST_VISIT, ["answer A", "answer B", *other], FIRST_VISIT)
        assert told[1][-2:] == ["closed", f"told {other[-1].removeprefix('say ')}"]
        assert "heard B" not in told[1]
        assert told[2][0] == "sent a\xff"
        assert kept


def test_nothing_is_kept_of_a_line_that_broke_at_once() -> None:
    _, kept = visits(["say a", "answer A", "say b"])
    assert kept == []
