// What all parts use: elements, times as text, colours, the period shown.

// Text becomes text nodes only: nothing in the data is ever parsed as HTML.
function make(name, attributes = {}, ...children) {
	const svg = ['svg', 'g', 'rect', 'path', 'text', 'defs', 'marker', 'title'].includes(name);
	const element = svg
		? document.createElementNS('http://www.w3.org/2000/svg', name)
		: document.createElement(name);
	for (const [key, value] of Object.entries(attributes))
		if (typeof value === 'function') element.addEventListener(key, value);
		else if (value === true) element.setAttribute(key, '');
		else if (value !== false && value !== undefined) element.setAttribute(key, value);
	element.append(...children.filter((child) => child !== null && child !== undefined));
	return element;
}

function seconds(value) {
	if (!known(value) || Number.isNaN(value)) return '–';
	value = Math.max(value, 0);
	if (value === 0) return '0 s';
	if (value < 0.9995e-3) return `${(value * 1e6).toFixed(0)} µs`;
	if (value < 0.9995) return `${+(value * 1e3).toPrecision(3)} ms`;
	if (value < 9.995) return `${+value.toPrecision(3)} s`;
	if (value < 59.95) return `${value.toFixed(1)} s`;
	let rest = Math.round(value);
	const two = (number) => String(number).padStart(2, '0');
	const minutes = Math.floor(rest / 60);
	if (minutes < 60) return `${minutes}:${two(rest % 60)} min`;
	const hours = Math.floor(minutes / 60);
	if (hours < 24) return `${hours}:${two(minutes % 60)}:${two(rest % 60)} h`;
	return `${Math.floor(hours / 24)} d ${two(hours % 24)}:${two(minutes % 60)} h`;
}

// A moment of the run as a clock shows it, so that nobody takes it for a duration.
function moment(value) {
	if (!known(value) || Number.isNaN(value)) return '–';
	const ticks = Math.round(Math.max(value, 0) * 1000);
	const two = (number) => String(number).padStart(2, '0');
	const minutes = Math.floor(ticks / 60000);
	const rest = `${two(Math.floor(ticks / 1000) % 60)}.${String(ticks % 1000).padStart(3, '0')}`;
	return `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${rest}`;
}

const grouped = (number) => number.toLocaleString('en');
const plural = (number, one, many = one + 's') => `${grouped(number)} ${number === 1 ? one : many}`;
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

// The colours of the style sheet, read again when light turns to dark.
let palette = {};
function readPalette() {
	const style = getComputedStyle(document.documentElement);
	palette = {};
	const names = 'paper sheet soft line strong ink quiet done reused failed cancelled running pending other';
	for (const name of [...names.split(' '), ...Array.from({ length: 8 }, (_, n) => `c${n}`)])
		palette[name] = style.getPropertyValue(`--${name}`).trim();
	palette.sans = style.getPropertyValue('--sans').trim();
}
readPalette();
const colourOf = (place, by) => {
	const state = stateOf(place);
	if (by === 'state' || state === 'failed' || state === 'cancelled') return palette[state] ?? palette.other;
	return palette[`c${functionOf(place) % 8}`];
};

// The period that the timeline and the utilisation show; both listen to its changes.
const view = {
	from: 0,
	to: runLength || 1,
	listeners: [],
	set(from, to) {
		const least = Math.max((runLength || 1) * 1e-7, 2e-6);
		const span = clamp(to - from, least, runLength || 1);
		this.from = clamp(from, 0, (runLength || 1) - span);
		this.to = this.from + span;
		this.changed();
	},
	zoom(factor, around = (this.from + this.to) / 2) {
		const span = (this.to - this.from) * factor;
		const part = (around - this.from) / (this.to - this.from);
		this.set(around - part * span, around - part * span + span);
	},
	move(by) {
		const span = this.to - this.from;
		const from = clamp(this.from + by, 0, (runLength || 1) - span);
		this.set(from, from + span);
	},
	all() {
		this.set(0, runLength || 1);
	},
	get whole() {
		return this.to - this.from >= (runLength || 1) * 0.999999;
	},
	changed() {
		if (this.waiting) return;
		this.waiting = true;
		requestAnimationFrame(() => {
			this.waiting = false;
			for (const listener of this.listeners) listener();
		});
	},
};

// Return a round step for an axis, with some eight of them in *span*.
function step(span, about = 8) {
	const raw = span / about;
	const minutes = [60, 120, 300, 600, 1200, 1800, 3600, 7200, 10800, 21600, 43200, 86400];
	if (raw > 30) return minutes.find((each) => each >= raw) ?? Math.ceil(raw / 86400) * 86400;
	const power = 10 ** Math.floor(Math.log10(raw));
	return [1, 2, 5, 10].find((each) => each * power >= raw) * power;
}

function tickText(value, width) {
	if (width >= 60) {
		const minutes = Math.round(value / 60);
		const hours = Math.floor(minutes / 60);
		return hours ? `${hours}:${String(minutes % 60).padStart(2, '0')} h` : `${minutes} min`;
	}
	const digits = Math.max(0, -Math.floor(Math.log10(width) + 1e-9));
	if (value >= 60) {
		const rest = (value % 60).toFixed(digits);
		return `${Math.floor(value / 60)}:${rest.padStart(digits ? digits + 3 : 2, '0')} min`;
	}
	if (view.to < 1) return `${(value * 1e3).toFixed(Math.max(0, digits - 3))} ms`;
	return `${value.toFixed(digits)} s`;
}

// Give *canvas* the size *width* × *height* on the screen, clear it, and return its pen.
function prepare(canvas, width, height) {
	const ratio = window.devicePixelRatio || 1;
	if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
		canvas.width = Math.round(width * ratio);
		canvas.height = Math.round(height * ratio);
		canvas.style.width = `${width}px`;
		canvas.style.height = `${height}px`;
	}
	const pen = canvas.getContext('2d');
	pen.setTransform(ratio, 0, 0, ratio, 0, 0);
	pen.clearRect(0, 0, width, height);
	pen.font = `11px ${palette.sans}`;
	pen.textBaseline = 'middle';
	return pen;
}

function axis(pen, left, right, y, bottom) {
	const width = step(view.to - view.from, Math.max(2, (right - left) / 110));
	const scale = (right - left) / (view.to - view.from);
	pen.textAlign = 'center';
	for (let tick = Math.ceil(view.from / width) * width; tick <= view.to + width * 1e-9; tick += width) {
		const x = Math.round(left + (tick - view.from) * scale) + 0.5;
		pen.fillStyle = palette.line;
		pen.fillRect(x - 0.5, y + 9, 1, bottom - y - 9);
		const label = tickText(tick, width);
		const half = pen.measureText(label).width / 2;
		pen.fillStyle = palette.quiet;
		pen.fillText(label, clamp(x, left + half, right - half), y);
	}
	pen.textAlign = 'left';
}

// How many of the sorted items are *before*.
function search(many, before) {
	let low = 0;
	let high = many;
	while (low < high) {
		const middle = (low + high) >> 1;
		if (before(middle)) low = middle + 1;
		else high = middle;
	}
	return low;
}

// Return *line*, cut with an ellipsis if it does not fit into *room*.
function fit(pen, line, room) {
	if (pen.measureText(line).width <= room) return line;
	const fits = (end) => pen.measureText(line.slice(0, end + 1) + '…').width <= room;
	const end = search(line.length, fits);
	return end ? line.slice(0, end) + '…' : '';
}

const tip = document.getElementById('tip');
function showTip(words, x, y) {
	tip.textContent = words;
	tip.hidden = false;
	const box = tip.getBoundingClientRect();
	tip.style.left = `${clamp(x + 14, 4, innerWidth - box.width - 4)}px`;
	tip.style.top = `${y + 18 + box.height > innerHeight ? y - box.height - 10 : y + 18}px`;
}
function hideTip() {
	tip.hidden = true;
}
