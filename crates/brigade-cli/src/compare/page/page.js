// The sliders. The formula and the sentences are those of model.rs, where they are explained; the
// test of the page compares the two. Without this script the page shows one task and a table.
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const model = JSON.parse(byId("model").textContent);
  const ways = ["thread", "pooled", "fresh"];

  // Numbers in words: format.rs.
  const digits = (value) => {
    const size = Math.abs(value);
    if (Math.abs(value - Math.round(value)) < 1e-9 || size >= 99.95) return value.toFixed(0);
    return value.toFixed(size >= 9.995 ? 1 : 2);
  };
  const times = [[1e9, "s"], [1e6, "ms"], [1e3, "µs"], [1, "ns"]];
  const bytes = [[2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"], [1, "B"]];
  const said = (ladder, value) => {
    const step = ladder.find(([size]) => Math.abs(value) >= size * 0.9995) || ladder[ladder.length - 1];
    return `${digits(value / step[0])}\u00a0${step[1]}`;
  };
  const time = (value) => said(times, value);
  const ratio = (by) => {
    if (by === 0) return "0\u00a0×";
    return `${by.toFixed(by >= 9.95 ? 0 : by >= 0.095 ? 1 : 3)}\u00a0×`;
  };

  // The formula: model.rs.
  const carry = (points, size) => {
    const found = points.findIndex((point, index) => index > 0 && size <= point[0]);
    const last = found < 0 ? points.length - 1 : found;
    const [below, low] = points[last - 1];
    const [above, high] = points[last];
    return Math.max(0, low + ((high - low) * (size - below)) / (above - below) - points[0][1]);
  };
  const cost = (worker, task) => {
    const probability = task.crash > 0 ? 1 / task.crash : 0;
    const attempt = [task.length, worker.hand_over, carry(worker.input, task.input)];
    const sum = attempt[0] + attempt[1] + attempt[2];
    const crashes = (sum + worker.recovery) * (probability / (1 - probability));
    return { parts: [...attempt, crashes], total: sum + crashes };
  };
  const about = (task) => {
    const crash = task.crash === 0 ? "never crashes" : `1 in ${task.crash.toLocaleString("en")} crashes`;
    return `${time(task.length)}, ${said(bytes, task.input)} of input, ${crash}`;
  };
  const verdict = (totals, task) => {
    const [thread, pooled, fresh] = totals.map(time);
    const by = ratio(totals[1] / totals[0]);
    if (task.crash > 0) {
      return `Take a process: a thread that crashes ends the whole program. A pooled process costs ${pooled} a task, a fresh one ${fresh}.`;
    }
    if (totals[1] > 1.05 * totals[0]) {
      return `Take a thread: it costs ${thread} a task, a pooled process ${pooled} (${by}) and a fresh one ${fresh}.`;
    }
    if (totals[0] > 1.05 * totals[1]) {
      return `Take a pooled process: it costs ${pooled} a task, ${by} what a thread does (${thread}), and its crash would be contained.`;
    }
    return `Take either: a thread costs ${thread} a task, a pooled process ${pooled}, within 5\u00a0% of each other. The process, if a crash would hurt.`;
  };

  // What each slider's steps mean, and what its number field shows: milliseconds, KiB, one in so many.
  const round = (value) => Number(value.toPrecision(3));
  const sliders = {
    length: {
      value: (step) => round(10 ** (3 + step / 10)),
      step: (value) => (Math.log10(value) - 3) * 10,
      field: 1e6,
      least: 1,
      text: time,
    },
    input: {
      value: (step) => (step === 0 ? 0 : 2 ** (step + 5)),
      step: (value) => (value < 32 ? 0 : Math.log2(value) - 5),
      field: 1024,
      least: 0,
      text: (value) => said(bytes, value),
    },
    crash: {
      value: (step) => (step === 0 ? 0 : Math.round(10 ** (9.5 - step / 2))),
      step: (value) => (value === 0 ? 0 : (9.5 - Math.log10(value)) * 2),
      field: 1,
      least: 0,
      text: (value) => (value === 0 ? "never" : `one in ${value.toLocaleString("en")}`),
    },
  };
  const task = { length: 1e6, input: 4096, crash: 0 };

  const draw = () => {
    const costs = ways.map((way) => cost(model[way], task));
    const most = Math.max(...costs.map((one) => one.total));
    costs.forEach((one, index) => {
      const rows = byId(`way-${ways[index]}`);
      const cells = rows.querySelectorAll("data");
      [...one.parts, one.total].forEach((value, cell) => {
        cells[cell].value = value;
        cells[cell].textContent = time(value);
      });
      let from = 0;
      rows.querySelectorAll("rect").forEach((rect, part) => {
        const width = (one.parts[part] / most) * 100;
        rect.setAttribute("x", `${from.toFixed(3)}%`);
        rect.setAttribute("width", `${width.toFixed(3)}%`);
        from += width;
      });
    });
    byId("which").textContent = `A task of ${about(task)}`;
    const text = verdict(costs.map((one) => one.total), task);
    // A screen reader speaks when the text changes, and only then.
    if (byId("says").textContent !== text) byId("says").textContent = text;
  };

  const show = (id, from) => {
    const slider = sliders[id];
    const range = byId(id);
    const number = byId(`${id}-number`);
    if (from !== range) range.value = Math.round(slider.step(task[id]));
    if (from !== number) number.value = task[id] / slider.field;
    range.setAttribute("aria-valuetext", slider.text(task[id]));
  };

  for (const id of Object.keys(sliders)) {
    const slider = sliders[id];
    const range = byId(id);
    const number = byId(`${id}-number`);
    range.addEventListener("input", () => {
      task[id] = slider.value(Number(range.value));
      show(id, range);
      draw();
    });
    number.addEventListener("input", () => {
      const value = number.valueAsNumber * slider.field;
      // Not while it is being typed; and who crashes every time never ends.
      const isBad = !Number.isFinite(value) || value < slider.least || (id === "crash" && value > 0 && value < 2);
      number.setAttribute("aria-invalid", isBad ? "true" : "false");
      if (isBad) return;
      task[id] = value;
      show(id, number);
      draw();
    });
    show(id, null);
  }
  byId("sliders").addEventListener("submit", (event) => event.preventDefault());
  byId("sliders").hidden = false;

  // A row of the table of tasks can be tried.
  for (const row of byId("typical").tBodies[0].rows) {
    const name = row.querySelector(".name");
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = name.textContent;
    button.addEventListener("click", () => {
      for (const id of Object.keys(sliders)) {
        task[id] = Number(row.dataset[id]);
        show(id, null);
      }
      draw();
    });
    name.replaceChildren(button);
  }
  draw();
})();
