// Draws one view: what is known of its job at a place between two levels, in layers.
"use strict";

const COLOURS = {
  light: { paper: "#ffffff", ink: "#1b1b1b", data: "#d55e00", particles: "#0072b2", line: "#777777",
    density: [0, 114, 178],
    classes: ["#d55e00", "#009e73", "#cc79a7", "#e69f00", "#000000", "#56b4e9", "#8b4513", "#6a3d9a"] },
  dark: { paper: "#14171a", ink: "#f0f0f0", data: "#ff9248", particles: "#6cc0f5", line: "#9a9a9a",
    density: [108, 192, 245],
    classes: ["#ff9248", "#2fd0a0", "#f2a5cf", "#f5c04e", "#ffffff", "#9bd5f7", "#d9a066", "#b79be0"] },
};

// Two neighbouring levels and the way from one to the other.
function between(place) {
  const k = Math.min(LEVELS - 1, Math.floor(place));
  return [k, k + 1, place - k];
}

class Drawing {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { alpha: false });
    this.clear(0, 2);
  }

  // Forget what was drawn, for so many particles of n coordinates.
  clear(count, n) {
    this.n = n;
    this.count = count;
    this.known = 0;
    this.states = Array.from({ length: LEVELS + 1 }, () => new Float32Array(count * n));
    this.tiles = null;
    this.flow = null;
    this.ends = null;
    this.lines = null;
  }

  piece({ from, rows, states }) {
    const size = rows * this.n;
    this.states.forEach((all, k) => all.set(states.subarray(k * size, (k + 1) * size), from * this.n));
    this.known = Math.max(this.known, from + rows);
    this.lines = null;
  }

  maps({ density, flow }, grid) {
    this.density = density;
    this.grid = grid;
    this.flow = flow;
    this.tiles = [];
  }

  // Set the canvas to the size that it is shown at.
  fit() {
    const side = Math.round(this.canvas.clientWidth * Math.min(2, devicePixelRatio));
    if (side && this.canvas.width !== side) {
      this.canvas.width = this.canvas.height = side;
      this.lines = null;
    }
  }

  x(v) { return this.canvas.width / 2 * (1 + v / this.reach); }
  y(v) { return this.canvas.height / 2 * (1 - v / this.reach); }

  draw(place, now) {
    const { context: c, canvas } = this, colours = COLOURS[now.theme];
    this.reach = now.reach;
    c.globalAlpha = 1;
    c.fillStyle = colours.paper;
    c.fillRect(0, 0, canvas.width, canvas.height);
    if (this.n > 2) { drawImages(this, place, now); return; }
    if (now.layers.density && this.tiles) this.drawDensity(place, colours);
    if (now.layers.arrows && this.flow) this.drawArrows(place, colours);
    if (now.layers.lines) this.drawLines(colours, now.theme);
    const few = now.points.xs.length < 100; // such points are large, and in front
    if (now.layers.data && !few) this.drawData(place, now, colours, 190);
    if (now.layers.particles) this.drawParticles(place, colours);
    if (now.layers.data && few) this.drawData(place, now, colours, 60);
    if (now.layers.solver && this.ends && place > LEVELS - 0.5) this.drawEnds(colours);
    this.drawCross(now, colours);
  }

  // Two levels are mixed while they are small, and the mixture is stretched over the picture.
  drawDensity(place, colours) {
    const [a, b, u] = between(place), mixed = this.mixed || (this.mixed = document.createElement("canvas"));
    mixed.width = mixed.height = this.grid;
    const small = mixed.getContext("2d");
    small.globalAlpha = 1 - u;
    small.drawImage(this.tile(a, colours.density), 0, 0);
    small.globalCompositeOperation = "lighter";
    small.globalAlpha = u;
    small.drawImage(this.tile(b, colours.density), 0, 0);
    this.context.imageSmoothingEnabled = true;
    this.context.drawImage(mixed, 0, 0, this.canvas.width, this.canvas.height);
  }

  tile(k, colour) {
    const key = colour.join();
    if (this.tiles.key !== key) { this.tiles = []; this.tiles.key = key; }
    if (!this.tiles[k]) {
      const made = document.createElement("canvas"), g = this.grid;
      made.width = made.height = g;
      const pixels = new ImageData(g, g);
      for (let i = 0; i < g * g; i++) {
        pixels.data.set([...colour, 0.55 * this.density[k * g * g + i]], 4 * i);
      }
      made.getContext("2d").putImageData(pixels, 0, 0);
      this.tiles[k] = made;
    }
    return this.tiles[k];
  }

  drawArrows(place, colours) {
    const [a, b, u] = between(place), c = this.context, side = Math.sqrt(this.flow.length / 98);
    const cell = this.canvas.width / side, rows = side * side * 2;
    c.strokeStyle = colours.line;
    c.lineWidth = 1;
    c.beginPath();
    for (let i = 0; i < side * side; i++) {
      const p = a * rows + 2 * i, q = b * rows + 2 * i;
      const dx = this.flow[p] * (1 - u) + this.flow[q] * u;
      const dy = this.flow[p + 1] * (1 - u) + this.flow[q + 1] * u;
      const size = Math.hypot(dx, dy);
      if (size < 1e-9) continue;
      const length = 0.8 * cell * Math.sqrt(size) / size, tipX = dx * length, tipY = -dy * length;
      const x = cell * ((i % side) + 0.5) - tipX / 2, y = cell * (Math.floor(i / side) + 0.5) - tipY / 2;
      c.moveTo(x, y);
      c.lineTo(x + tipX, y + tipY);
      c.lineTo(x + 0.7 * tipX - 0.18 * tipY, y + 0.7 * tipY + 0.18 * tipX);
      c.moveTo(x + tipX, y + tipY);
      c.lineTo(x + 0.7 * tipX + 0.18 * tipY, y + 0.7 * tipY - 0.18 * tipX);
    }
    c.stroke();
  }

  // The ways of some particles, drawn once and kept.
  drawLines(colours, theme) {
    if (!this.lines || this.lines.theme !== theme) {
      const kept = document.createElement("canvas");
      kept.width = kept.height = this.canvas.width;
      const c = kept.getContext("2d");
      c.strokeStyle = colours.particles;
      c.globalAlpha = 0.45;
      c.lineWidth = Math.max(1, this.canvas.width / 480);
      c.beginPath();
      for (let j = 0; j < Math.min(60, this.known); j++) {
        this.states.forEach((all, k) => {
          const x = this.x(all[2 * j]), y = this.y(all[2 * j + 1]);
          if (k) c.lineTo(x, y); else c.moveTo(x, y);
        });
      }
      c.stroke();
      this.lines = { kept, theme };
    }
    this.context.drawImage(this.lines.kept, 0, 0);
  }

  drawData(place, now, colours, across) {
    const { xs, labels } = now.points, factor = now.factor(place), c = this.context;
    const size = Math.max(2, Math.round(this.canvas.width / across)), half = size / 2;
    let last = null;
    for (let i = 0; i < xs.length / 2; i++) {
      const colour = labels ? colours.classes[labels[i] % colours.classes.length] : colours.data;
      if (colour !== last) { c.fillStyle = colour; last = colour; }
      const x = Math.round(this.x(xs[2 * i] / factor) - half);
      c.fillRect(x, Math.round(this.y(xs[2 * i + 1] / factor) - half), size, size);
    }
  }

  drawParticles(place, colours) {
    const [a, b, u] = between(place), c = this.context, A = this.states[a], B = this.states[b];
    const size = Math.max(2, Math.round(this.canvas.width / 260)), scale = this.canvas.width / 2;
    const unit = scale / this.reach, corner = scale - size / 2, most = this.canvas.width;
    c.fillStyle = colours.particles; // whole pixels need no smoothing, which costs most
    for (let j = 0; j < 2 * this.known; j += 2) {
      const x = Math.round(corner + unit * (A[j] + u * (B[j] - A[j])));
      const y = Math.round(corner - unit * (A[j + 1] + u * (B[j + 1] - A[j + 1])));
      if (x > -size && y > -size && x < most && y < most) c.fillRect(x, y, size, size);
    }
  }

  // Where a solver ended, each joined to where the exact flow ends.
  drawEnds(colours) {
    const c = this.context, exact = this.states[LEVELS];
    c.strokeStyle = colours.ink;
    c.globalAlpha = 0.6;
    c.lineWidth = 1;
    c.beginPath();
    for (let j = 0; j < Math.min(this.ends.length, 400); j += 2) {
      c.moveTo(this.x(exact[j]), this.y(exact[j + 1]));
      c.lineTo(this.x(this.ends[j]), this.y(this.ends[j + 1]));
    }
    c.stroke();
    c.globalAlpha = 1;
  }

  drawCross(now, colours) {
    if (!now.cross) return;
    const c = this.context, x = this.x(now.cross[0]), y = this.y(now.cross[1]), s = this.canvas.width / 40;
    c.strokeStyle = colours.ink;
    c.lineWidth = 2;
    c.beginPath();
    for (const [dx, dy] of [[1, 0], [0, 1]]) {
      c.moveTo(x - s * dx, y - s * dy);
      c.lineTo(x + s * dx, y + s * dy);
    }
    c.stroke();
  }
}
