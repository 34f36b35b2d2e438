"use strict";

/* The timeline: a canvas in which each row of pixels stands for the nodes of one or more rows. */

class Timeline {
  constructor(canvas, data, colours, describe) {
    this.canvas = canvas;
    this.data = data;
    this.colours = colours;
    this.describe = describe;
    this.rows = [];
    this.end = Math.max(1, Math.round(data.duration * data.ticks));
    for (let at = 0; at < data.start.length; at++) {
      if (data.start[at] >= 0) this.end = Math.max(this.end, data.start[at] + data.length[at]);
    }
    this.view = { from: 0, to: this.end };
    this.drawing = 0;
    this.listen();
  }

  /* Show these nodes. */
  show(rows) {
    const start = this.data.start;
    const last = (row) => (start[row] < 0 ? Infinity : start[row]);
    this.rows = rows.slice().sort((a, b) => last(a) - last(b) || a - b);
    this.redraw();
  }

  /* Show another part of the run: around a share of what is seen, so many times as long. */
  zoom(factor, share = 0.5) {
    const seen = this.view.to - this.view.from;
    const size = Math.min(this.end, Math.max(10, seen * factor));
    this.look(this.view.from + (seen - size) * share, size);
  }

  move(share) {
    const seen = this.view.to - this.view.from;
    this.look(this.view.from + seen * share, seen);
  }

  look(from, size) {
    const begin = Math.max(0, Math.min(this.end - size, from));
    this.view = { from: begin, to: begin + size };
    this.redraw();
  }

  redraw() {
    if (this.drawing) return;
    this.drawing = requestAnimationFrame(() => {
      this.drawing = 0;
      this.draw();
    });
  }

  draw() {
    const scale = window.devicePixelRatio || 1;
    const width = Math.max(1, Math.round(this.canvas.clientWidth * scale));
    const height = Math.max(1, Math.round(this.canvas.clientHeight * scale));
    if (this.canvas.width !== width || this.canvas.height !== height) {
      this.canvas.width = width;
      this.canvas.height = height;
    }
    const context = this.canvas.getContext("2d");
    context.clearRect(0, 0, width, height);
    const palette = this.colours();
    const lines = Math.min(this.rows.length, height);
    const { from, to } = this.view;
    const x = (tick) => ((tick - from) / (to - from)) * width;
    const thick = Math.min(24 * scale, height / Math.max(1, this.rows.length));
    for (let line = 0; line < lines; line++) {
      const band = this.band(line, lines);
      const y = lines < height ? line * thick : line;
      const size = Math.max(1, thick > 3 ? thick - 1 : thick);
      const begin = band.start < 0 ? width : Math.max(0, x(band.start));
      context.fillStyle = palette.wait;
      context.fillRect(0, y, Math.min(width, begin), size);
      if (band.start >= 0) {
        context.fillStyle = palette.kinds[band.kind];
        context.fillRect(begin, y, Math.max(1, Math.min(width, x(band.end)) - begin), size);
      } else {
        context.fillStyle = palette.kinds[band.kind];
        context.fillRect(0, y, 4 * scale, size);
      }
    }
    this.describe(this.view, this.rows.length);
  }

  /* Return what a line shows: the first start, the last end and the worst outcome of its nodes. */
  band(line, lines) {
    const first = Math.floor((line * this.rows.length) / lines);
    const stop = Math.max(first + 1, Math.floor(((line + 1) * this.rows.length) / lines));
    const found = { start: -1, end: -1, kind: 0 };
    for (let at = first; at < stop; at++) {
      const row = this.rows[at];
      const start = this.data.start[row];
      if (start >= 0) {
        if (found.start < 0 || start < found.start) found.start = start;
        found.end = Math.max(found.end, start + this.data.length[row]);
      }
      // Kinds are in the order of the summary: what is not ok comes after what is.
      if (this.severity(row) > found.worst || found.worst === undefined) {
        found.worst = this.severity(row);
        found.kind = this.data.kind[row];
      }
    }
    return found;
  }

  severity(row) {
    const kind = this.data.kinds[this.data.kind[row]];
    return kind === "ok" ? 0 : kind === "not run" ? 1 : 100 - this.data.kind[row];
  }

  /* Return the node at a height of the canvas, -1 below the last one. */
  nodeAt(offset) {
    const height = this.canvas.clientHeight;
    const scale = window.devicePixelRatio || 1;
    const fits = this.rows.length <= Math.round(height * scale);
    const thick = fits ? Math.min(24, height / Math.max(1, this.rows.length)) : height / this.rows.length;
    const at = Math.floor(offset / thick);
    return at < this.rows.length ? this.rows[at] : -1;
  }

  listen() {
    this.canvas.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.shiftKey) return;
      event.preventDefault();
      this.zoom(event.deltaY > 0 || event.deltaX > 0 ? 1.25 : 0.8, event.offsetX / this.canvas.clientWidth);
    }, { passive: false });
    let pressed = null;
    this.canvas.addEventListener("pointerdown", (event) => {
      pressed = { x: event.offsetX, from: this.view.from };
      this.canvas.setPointerCapture(event.pointerId);
    });
    this.canvas.addEventListener("pointermove", (event) => {
      if (pressed === null) return;
      const seen = this.view.to - this.view.from;
      this.look(pressed.from - ((event.offsetX - pressed.x) / this.canvas.clientWidth) * seen, seen);
    });
    for (const name of ["pointerup", "pointercancel"]) {
      this.canvas.addEventListener(name, () => { pressed = null; });
    }
    this.canvas.addEventListener("dblclick", (event) => this.zoom(0.5, event.offsetX / this.canvas.clientWidth));
    const keys = {
      "+": () => this.zoom(0.5), "=": () => this.zoom(0.5), "-": () => this.zoom(2), "0": () => this.look(0, this.end),
      ArrowLeft: () => this.move(-0.25), ArrowRight: () => this.move(0.25), Home: () => this.look(0, this.end),
    };
    this.canvas.addEventListener("keydown", (event) => {
      if (event.key in keys && !event.ctrlKey && !event.metaKey && !event.altKey) {
        event.preventDefault();
        keys[event.key]();
      }
    });
    new ResizeObserver(() => this.redraw()).observe(this.canvas);
  }
}
