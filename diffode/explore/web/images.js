// Draws particles that are images: a sheet of them, light as they are in the data.
"use strict";

function drawImages(view, place, now) {
  const { context: c, canvas, n } = view, [channels, height, width] = now.points.shape;
  const [a, b, u] = between(place), across = Math.ceil(Math.sqrt(view.count)) || 1;
  const gap = Math.ceil(canvas.width / 150), cell = canvas.width / across, { low, high } = now.points, factor = now.factor(place);
  const middle = (low + high) / 2, grow = 255 / (high - low);
  const sheet = view.sheet || (view.sheet = document.createElement("canvas"));
  if (sheet.width !== width || sheet.height !== height) { sheet.width = width; sheet.height = height; }
  const pixels = new ImageData(width, height), drawn = sheet.getContext("2d");
  c.imageSmoothingEnabled = false;
  for (let j = 0; j < view.known; j++) {
    for (let p = 0; p < width * height; p++) {
      for (let k = 0; k < 3; k++) {
        const at = j * n + (k % channels) * width * height + p;
        const v = view.states[a][at] + u * (view.states[b][at] - view.states[a][at]);
        pixels.data[4 * p + k] = 127.5 + grow * (v - middle / factor); // the clamped array cuts
      }
      pixels.data[4 * p + 3] = 255;
    }
    drawn.putImageData(pixels, 0, 0);
    const x = cell * (j % across), y = cell * Math.floor(j / across);
    c.drawImage(sheet, x + gap, y + gap, cell - 2 * gap, cell - 2 * gap);
  }
}
