/** Of one frame, drawing may take so long; what is left is drawn in the next ones, and the page stays smooth. */
const BUDGET_MS = 6;

const waiting = new Set<() => void>();
let frame = 0;

/** Draw when it is this one's turn: soon, once, and not while the page is hidden, for there are no frames then. */
export function drawInTurn(draw: () => void): void {
  waiting.add(draw);
  frame ||= requestAnimationFrame(drawSome);
}

/** It need not be drawn any more. */
export function forget(draw: () => void): void {
  waiting.delete(draw);
}

function drawSome(): void {
  const began = performance.now();
  for (const draw of waiting) {
    waiting.delete(draw);
    draw();
    if (performance.now() - began > BUDGET_MS) {
      break;
    }
  }
  frame = waiting.size > 0 ? requestAnimationFrame(drawSome) : 0;
}
