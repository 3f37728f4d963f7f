"use strict";
// Records to search and to filter. Texts reach the page as text nodes only.
for (const source of document.querySelectorAll("script[id^=packed-]")) {
  const key = source.id.slice("packed-".length);
  const panel = document.getElementById(`explorer-${key}`);
  const status = document.getElementById(`status-${key}`);
  const list = document.getElementById(`records-${key}`);
  const AT_ONCE = 10;

  const make = (tag, values = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(values)) {
      if (value !== "" && value !== null) element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  };

  const unpack = async () => {
    const bytes = Uint8Array.from(atob(source.textContent.trim()), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return JSON.parse(await new Response(stream).text());
  };

  const textBlock = (label, text, language, direction) => make(
    "div", {}, make("dt", {}, label), make("dd", { class: "text", lang: language, dir: direction }, text)
  );

  const answerBlock = (data, name, answer, language) => {
    const [text, scoreText, note] = answer.slice(0, 3).map((at) => data.strings[at]);
    const title = make("span", {}, name);
    if (note) title.append(make("small", {}, note));
    return make(
      "div", {},
      make("dt", {}, title, make("span", { class: "score" }, scoreText)),
      make("dd", { class: "text", lang: language, dir: "auto" }, text || "(empty)")
    );
  };

  const recordBlock = (data, record, shownAnswerers) => {
    const [name, places, language, direction, passages, expected, answers] = record;
    const heading = [...data.facets.map(([, values], at) => values[places[at]]), data.strings[name]].join(", ");
    const gold = make("p", { class: "expected" }, "expected ");
    expected.forEach((at, number) => {
      gold.append(number ? ", " : "", make("bdi", { lang: language }, data.strings[at]));
    });
    const texts = passages.map(([label, text, tag, way]) => (
      textBlock(data.strings[label], data.strings[text], tag, way)
    ));
    const said = shownAnswerers.filter((at) => answers[at]).map((at) => (
      answerBlock(data, data.answerers[at], answers[at], language)
    ));
    return make(
      "article", { class: "sample" },
      make("h4", {}, heading),
      make("dl", { class: "passages" }, ...texts),
      gold,
      make("dl", { class: "responses" }, ...said)
    );
  };

  const labelled = (text, control) => make("label", {}, make("span", {}, text), control);

  const choice = (first, labels) => {
    const select = make("select");
    if (first) select.append(make("option", { value: "-1" }, first));
    labels.forEach((label, at) => select.append(make("option", { value: at }, label)));
    return select;
  };

  const show = (data) => {
    const search = make("input", { type: "search", autocomplete: "off", spellcheck: "false" });
    const facets = data.facets.map(([title, labels]) => [title, choice(`all ${title.toLowerCase()}s`, labels)]);
    const sides = [choice("", data.answerers), choice("", data.answerers)];
    const relation = choice("", ["any", "A is right or better, B is not", "B is right or better, A is not", "A and B score the same"]);
    const only = make("input", { type: "checkbox" });
    (data.compared || [0, Math.min(1, data.answerers.length - 1)]).forEach((at, side) => { sides[side].value = at; });
    panel.append(
      labelled("Search", search),
      ...facets.map(([title, select]) => labelled(title, select)),
      labelled("A", sides[0]), labelled("B", sides[1]), labelled("Compare", relation),
      make("label", { class: "only" }, only, make("span", {}, "Show A and B only")),
    );
    const haystacks = [];
    const haystack = (record, at) => {
      if (haystacks[at] === undefined) {
        const [name, , , , passages, expected, answers] = record;
        const places = [name, ...passages.map((each) => each[1]), ...expected, ...answers.flatMap((each) => each ? [each[0]] : [])];
        haystacks[at] = places.map((place) => data.strings[place]).join("\n").toLowerCase();
      }
      return haystacks[at];
    };
    const scoreOf = (record, side) => {
      const answer = record[6][Number(sides[side].value)];
      return answer ? answer[3] : null;
    };
    const relates = (record) => {
      if (relation.value === "0") return true;
      const [a, b] = [scoreOf(record, 0), scoreOf(record, 1)];
      if (a === null || b === null) return false;
      return relation.value === "1" ? a > b : relation.value === "2" ? b > a : a === b;
    };
    const matches = () => {
      const words = search.value.trim().toLowerCase();
      const wanted = facets.map(([, select]) => Number(select.value));
      return data.records.filter((record, at) => (
        wanted.every((value, facet) => value < 0 || record[1][facet] === value)
        && relates(record)
        && (!words || haystack(record, at).includes(words))
      ));
    };
    let found = [], shown = 0;
    const more = make("button", { type: "button", class: "more" }, `Show ${AT_ONCE} more`);
    const append = () => {
      const answerers = only.checked ? sides.map((side) => Number(side.value)) : data.answerers.map((_, at) => at);
      const next = found.slice(shown, shown + AT_ONCE);
      more.before(...next.map((record) => recordBlock(data, record, [...new Set(answerers)])));
      shown += next.length;
      more.hidden = shown >= found.length;
      const [of, all] = [found.length, data.records.length].map((count) => count.toLocaleString("en"));
      status.textContent = `${of} of ${all} items of this page match; ${shown} shown.`;
    };
    const refresh = () => {
      found = matches();
      shown = 0;
      list.replaceChildren(more);
      append();
    };
    let waiting;
    search.addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(refresh, 120);
    });
    panel.addEventListener("change", (event) => {
      if (event.target !== search) refresh();
    });
    more.addEventListener("click", () => {
      const first = shown;
      append();
      const article = list.querySelectorAll("article")[first];
      if (article) {
        article.tabIndex = -1;
        article.focus();
      }
    });
    panel.hidden = status.hidden = false;
    refresh();
  };

  const refuse = (reason) => {
    status.hidden = false;
    status.textContent = `This browser cannot unpack the items (${reason}); every answer is in the files beside this page.`;
  };

  if (typeof DecompressionStream === "undefined") refuse("it lacks DecompressionStream");
  else unpack().then(show, (error) => refuse(error.message));
}
