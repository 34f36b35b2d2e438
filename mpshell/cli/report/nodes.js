"use strict";

/* Node sets as the search has them: names with [ranges], joined by , (or), ! (but not), & (and), ^ (one of both). */

/* Return a function from a name to whether it is in the node set; null for a text that is none. */
function nodeSet(text) {
  const parts = operations(text.trim());
  if (parts === null) return null;
  const tests = [];
  for (const [operator, pattern] of parts) {
    const test = nodePattern(pattern);
    if (test === null) return null;
    tests.push([operator, test]);
  }
  return (name) => {
    let found = false;
    for (const [operator, test] of tests) {
      if (operator === ",") found = found || test(name);
      else if (operator === "!") found = found && !test(name);
      else if (operator === "&") found = found && test(name);
      else found = found !== test(name);
    }
    return found;
  };
}

/* Split a node set at its operators, outside of brackets: [[operator, pattern], ...]. */
function operations(text) {
  const parts = [];
  let operator = ",";
  let depth = 0;
  let begin = 0;
  for (let at = 0; at <= text.length; at++) {
    const character = text[at];
    if (character === "[") depth++;
    if (character === "]") depth--;
    if (depth < 0 || depth > 1) return null;
    if (at === text.length || (depth === 0 && ",!&^ \n".includes(character))) {
      const pattern = text.slice(begin, at);
      if (pattern !== "") parts.push([operator, pattern]);
      if (at < text.length && (pattern !== "" || "!&^".includes(character))) {
        operator = "!&^".includes(character) ? character : ",";
      }
      begin = at + 1;
    }
  }
  return depth === 0 && parts.length > 0 ? parts : null;
}

/* Return a test of names for a pattern as n[1-9,12]-ib[0-1] or rack*. */
function nodePattern(pattern) {
  const ranges = [];
  let expression = "";
  for (const piece of pattern.split(/(\[[^\]]*\]|\*)/)) {
    if (piece === "*") {
      expression += ".*";
    } else if (piece.startsWith("[")) {
      const range = rangeSet(piece.slice(1, -1));
      if (range === null) return null;
      ranges.push(range);
      expression += "(\\d+)";
    } else {
      expression += piece.replace(/[.+?^${}()|\\/-]/g, "\\$&");
    }
  }
  const whole = new RegExp(`^${expression}$`);
  return (name) => {
    const found = whole.exec(name);
    return found !== null && ranges.every((range, at) => range(found[at + 1]));
  };
}

/* Return a test of digits for ranges as 1-9,012-020/2; null for a text that is none. */
function rangeSet(text) {
  const ranges = [];
  for (const part of text.split(",")) {
    const found = /^(\d+)(?:-(\d+)(?:\/(\d+))?)?$/.exec(part.trim());
    if (found === null || found[3] === "0") return null;
    const [, first, last = found[1], step = "1"] = found;
    if (BigInt(last) < BigInt(first)) return null;
    const width = first.startsWith("0") && first.length > 1 ? first.length : 0;
    ranges.push({ first: BigInt(first), last: BigInt(last), step: BigInt(step), width });
  }
  return (digits) => {
    const padded = digits.length > 1 && digits.startsWith("0");
    const value = BigInt(digits);
    return ranges.some(
      (range) =>
        value >= range.first && value <= range.last && (value - range.first) % range.step === 0n &&
        (range.width ? digits.length === Math.max(range.width, String(value).length) : !padded),
    );
  };
}
