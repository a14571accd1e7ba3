// The timeline: the attempts on each lane as bars; only those in view are drawn.

const LANE = 18;
const HEAD = 24;

// The bars of each lane in order of time; none overlaps another.
const bars = data.lanes.map(() => []);
const barOf = []; // by place: the bar of the last attempt
const runningBars = new Set();
function addBar(place) {
	const lane = at(data.lane, place);
	const start = times.started[place];
	let bar = barOf[place];
	if (bar && (lane === null || bar.lane !== lane)) {
		bars[bar.lane].splice(bars[bar.lane].indexOf(bar), 1);
		runningBars.delete(bar);
		bar = barOf[place] = undefined;
	}
	if (lane === null) return;
	const runs = !known(times.ended[place]);
	const end = runs ? runLength : times.ended[place];
	// A backend may not say when a task starts: then it counts as started when it was ready.
	const begun = known(start) ? start : known(times.ready[place]) ? times.ready[place] : end;
	if (!bar) bar = barOf[place] = { lane, place, failed: null };
	const isNew = bar.end === undefined;
	bar.start = begun;
	bar.end = end;
	if (runs) runningBars.add(bar);
	else runningBars.delete(bar);
	if (isNew) putBar(bar);
}
function addFailedBar(row) {
	const [number, , lane, start, end] = row;
	if (lane !== null)
		putBar({ lane, start: start * data.unit, end: end * data.unit, place: placeOf(number), failed: row });
}
let sorting = new Set();
function putBar(bar) {
	const lane = bars[bar.lane];
	const last = lane[lane.length - 1];
	lane.push(bar);
	if (last && last.start > bar.start) sorting.add(lane);
}
function sortBars() {
	for (const lane of sorting) lane.sort((a, b) => a.start - b.start || a.end - b.end);
	sorting.clear();
}
for (let place = 0; place < size; place++) addBar(place);
data.failed.forEach(addFailedBar);
sortBars();

const timeline = (() => {
	const section = document.getElementById('timeline');
	const host = section.querySelector('.drawn');
	const frame = section.querySelector('.lanes');
	const sheet = section.querySelector('.sheet');
	const canvas = section.querySelector('canvas');
	const chosen = section.querySelector('[data-colour]');
	const legend = section.querySelector('.legend');
	const note = section.querySelector('.window');
	let width = 0;
	let height = 0;
	let left = 0;
	let hovered = null;
	let selection = null;

	const none = make('p', { class: 'empty' }, isLive ? 'No task ran yet.' : 'No task ran.');
	host.before(none);
	let rows = []; // the lanes in the order in which they are shown
	function arrange() {
		host.hidden = !data.lanes.length;
		none.hidden = !host.hidden;
		rows = data.lanes.map((_, lane) => lane);
		if (isLive) {
			const name = (lane) => listed(data.backends, data.lanes[lane][0]) || '\uffff';
			const worker = (lane) => listed(data.workers, data.lanes[lane][1]) || '\uffff';
			const natural = new Intl.Collator('en', { numeric: true }).compare;
			rows.sort((a, b) => natural(name(a), name(b)) || natural(worker(a), worker(b)) || a - b);
		}
		sheet.style.height = `${HEAD + data.lanes.length * LANE + 6}px`;
		frame.style.height = `${Math.min(HEAD + data.lanes.length * LANE + 8, 460)}px`;
	}
	arrange();

	function laneName(lane) {
		const [backend, worker, place] = data.lanes[lane];
		if (backend === null && isLive) return place ? `blocks ${place + 1}` : 'blocks';
		if (worker === null) {
			const alone = !data.lanes.some(([other, , at]) => other === backend && at);
			return listed(data.backends, backend) + (alone ? '' : ` ${place + 1}`);
		}
		return place ? `${data.workers[worker]} · ${place + 1}` : data.workers[worker];
	}

	function measure() {
		width = frame.clientWidth;
		height = frame.clientHeight;
		const pen = canvas.getContext('2d');
		pen.font = `11px ${palette.sans}`;
		let widest = 40;
		for (let lane = 0; lane < Math.min(data.lanes.length, 2000); lane++)
			widest = Math.max(widest, pen.measureText(laneName(lane)).width);
		left = Math.min(widest + 20, Math.max(70, width * 0.22));
	}

	const xOf = (time) => left + ((time - view.from) * (width - left - 8)) / (view.to - view.from);
	const timeOf = (x) => view.from + ((x - left) * (view.to - view.from)) / (width - left - 8);

	// The first bar of *lane* that ends after *time*.
	const firstAfter = (lane, time) => search(bars[lane].length, (index) => bars[lane][index].end <= time);

	function draw() {
		if (host.hidden) return;
		measure();
		const pen = prepare(canvas, width, height);
		const right = width - 8;
		const top = frame.scrollTop;
		const firstLane = Math.max(0, Math.floor(top / LANE));
		const lastLane = Math.min(data.lanes.length - 1, Math.ceil((top + height - HEAD) / LANE));
		axis(pen, left, right, 11, height);
		pen.save();
		pen.beginPath();
		pen.rect(0, HEAD - 2, width, height);
		pen.clip();
		for (let row = firstLane; row <= lastLane; row++) {
			const lane = rows[row];
			const y = HEAD + row * LANE - top;
			if (row && data.lanes[lane][0] !== data.lanes[rows[row - 1]][0]) {
				pen.fillStyle = palette.strong;
				pen.fillRect(0, y, width, 1);
			}
			pen.fillStyle = palette.quiet;
			pen.fillText(fit(pen, laneName(lane), left - 18), 10, y + LANE / 2);
			drawLane(pen, lane, y + 3, LANE - 5, right);
		}
		pen.restore();
		pen.fillStyle = palette.line;
		pen.fillRect(left - 1, 0, 1, height);
		if (selection) {
			pen.globalAlpha = 0.18;
			pen.fillStyle = palette.ink;
			pen.fillRect(Math.min(...selection), HEAD, Math.abs(selection[1] - selection[0]), height);
			pen.globalAlpha = 1;
		}
		const fine = Math.min(step(view.to - view.from, 100), 1);
		note.textContent = view.whole
			? `${plural(data.lanes.length, 'lane')}, ${seconds(runLength)}`
			: `${tickText(view.from, fine)} to ${tickText(view.to, fine)}`;
	}

	function drawLane(pen, lane, y, tall, right) {
		const row = bars[lane];
		const by = chosen.value;
		let edge = -1;
		let worst = false;
		for (let index = firstAfter(lane, view.from); index < row.length; index++) {
			const bar = row[index];
			if (bar.start > view.to) break;
			const bad = bar.failed !== null || stateOf(bar.place) === 'failed';
			let x = Math.max(xOf(bar.start), left);
			let end = Math.min(xOf(bar.end), right);
			// Of several bars in one pixel the first is drawn, and any failure.
			if (end <= edge && (worst || !bad)) continue;
			if (end - x < 1) {
				x = Math.floor(x);
				end = x + 1;
			} else if (end - x > 3) end -= 0.75;
			edge = end;
			worst = bad;
			pen.fillStyle = bar.failed ? palette.failed : colourOf(bar.place, by);
			pen.fillRect(x, y, end - x, tall);
			if (bar.failed && end - x > 4) {
				pen.fillStyle = palette.sheet;
				pen.fillRect(x + 1, y + 2, end - x - 2, tall - 4);
			} else if (bad && end - x > 4) {
				pen.fillStyle = palette.ink;
				pen.fillRect(end - 2, y, 2, tall);
			}
			if (bar === hovered) {
				pen.strokeStyle = palette.ink;
				pen.lineWidth = 1.5;
				pen.strokeRect(x - 0.5, y - 0.5, end - x + 1, tall + 1);
			}
			if (end - x > 60 && !bar.failed) {
				pen.fillStyle = palette.sheet;
				pen.fillText(fit(pen, nameOf(bar.place), end - x - 10), x + 5, y + tall / 2 + 0.5);
			}
		}
	}

	function barAt(x, y) {
		const lane = rows[Math.floor((y - HEAD + frame.scrollTop) / LANE)];
		if (y < HEAD || x < left || lane === undefined) return null;
		const time = timeOf(x);
		const pixel = (view.to - view.from) / (width - left - 8);
		const row = bars[lane];
		let best = null;
		for (let index = Math.max(0, firstAfter(lane, time - pixel) - 1); index < row.length; index++) {
			const bar = row[index];
			if (bar.start > time + pixel) break;
			if (bar.start <= time && bar.end >= time) return bar;
			if (bar.end >= time - pixel && !best) best = bar;
		}
		return best;
	}

	function words(bar) {
		const place = bar.place;
		const lines = [nameOf(place), idOf(place)];
		if (bar.failed) lines.push(`attempt ${bar.failed[1]}: ${bar.failed[5][0]}`);
		else lines.push(stateOf(place) + (at(data.attempt, place) > 1 ? `, attempt ${at(data.attempt, place)}` : ''));
		lines.push(`${seconds(bar.end - bar.start)}, from ${moment(bar.start)}`);
		const where = [backendOf(place), workerOf(place)].filter(Boolean).join(' · ');
		if (where) lines.push(where);
		return lines.join('\n');
	}

	function fillLegend() {
		const items = [];
		const mark = (colour, label, fill = colour) => {
			const sign = make('span', { class: 'mark' });
			sign.style.background = fill;
			sign.style.border = `2px solid ${colour}`;
			items.push(make('li', {}, sign, make('span', { class: 'name' }, label)));
		};
		if (chosen.value === 'state') {
			const states = new Set();
			for (const row of bars) for (const bar of row) states.add(stateOf(bar.place));
			for (const state of states) mark(palette[state], state);
		} else {
			data.functions.slice(0, 8).forEach(([name], place) => mark(palette[`c${place % 8}`], name));
			if (data.functions.length > 8) items.push(make('li', { class: 'note' }, `and ${plural(data.functions.length - 8, 'more function')}`));
			mark(palette.failed, 'failed');
		}
		if (data.failed.length) mark(palette.failed, 'retried', 'none');
		legend.replaceChildren(...items);
	}

	const point = (event) => {
		const box = canvas.getBoundingClientRect();
		return [event.clientX - box.left, event.clientY - box.top];
	};
	let drag = null;
	canvas.addEventListener('pointerdown', (event) => {
		const [x] = point(event);
		drag = { x, from: view.from, to: view.to, moved: false, select: event.shiftKey };
		canvas.setPointerCapture(event.pointerId);
	});
	canvas.addEventListener('pointermove', (event) => {
		const [x, y] = point(event);
		if (drag) {
			drag.moved ||= Math.abs(x - drag.x) > 3;
			if (drag.select) selection = [drag.x, x];
			else if (drag.moved) {
				const shift = ((drag.x - x) * (drag.to - drag.from)) / (width - left - 8);
				view.from = drag.from;
				view.to = drag.to;
				view.move(shift);
			}
			hideTip();
			view.changed();
			return;
		}
		const bar = barAt(x, y);
		canvas.classList.toggle('on', bar !== null);
		if (bar) showTip(words(bar), event.clientX, event.clientY);
		else hideTip();
		if (bar !== hovered) {
			hovered = bar;
			view.changed();
		}
	});
	canvas.addEventListener('pointerup', (event) => {
		const [x, y] = point(event);
		const was = drag;
		drag = null;
		selection = null;
		if (!was) return;
		if (was.select && was.moved) view.set(timeOf(Math.min(was.x, x)), timeOf(Math.max(was.x, x)));
		else if (!was.moved) {
			const bar = barAt(x, y);
			if (bar) location.hash = `task-${numberOf(bar.place)}`;
		}
		view.changed();
	});
	canvas.addEventListener('pointercancel', () => (drag = selection = null));
	canvas.addEventListener('pointerleave', () => {
		hideTip();
		hovered = null;
		view.changed();
	});
	canvas.addEventListener('dblclick', () => view.all());
	frame.addEventListener(
		'wheel',
		(event) => {
			const span = view.to - view.from;
			if (event.ctrlKey || event.metaKey) view.zoom(Math.exp(clamp(event.deltaY, -60, 60) / 150), timeOf(point(event)[0]));
			else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY))
				view.move(((event.deltaX || event.deltaY) * span) / width);
			else return;
			event.preventDefault();
		},
		{ passive: false },
	);
	frame.addEventListener('scroll', () => view.changed());
	frame.addEventListener('keydown', (event) => {
		const span = view.to - view.from;
		const does = {
			ArrowLeft: () => view.move(-span / 8),
			ArrowRight: () => view.move(span / 8),
			'+': () => view.zoom(0.7),
			'=': () => view.zoom(0.7),
			'-': () => view.zoom(1 / 0.7),
			0: () => view.all(),
		}[event.key];
		if (!does || event.ctrlKey || event.metaKey || event.altKey) return;
		event.preventDefault();
		does();
	});
	for (const button of section.querySelectorAll('[data-zoom]'))
		button.addEventListener('click', () => {
			if (button.dataset.zoom === 'all') view.all();
			else view.zoom(button.dataset.zoom === 'in' ? 0.6 : 1 / 0.6);
		});
	chosen.addEventListener('change', () => {
		fillLegend();
		view.changed();
	});
	fillLegend();
	view.listeners.push(draw);

	// Bring the bar of a task into view.
	function reveal(place) {
		const lane = at(data.lane, place);
		if (lane === null) return;
		const bar = bars[lane].find((each) => each.place === place && !each.failed);
		hovered = bar ?? null;
		const y = rows.indexOf(lane) * LANE;
		if (y < frame.scrollTop || y > frame.scrollTop + height - HEAD - LANE) frame.scrollTop = y - height / 2;
		if (bar && (bar.end < view.from || bar.start > view.to)) {
			const span = view.to - view.from;
			view.set((bar.start + bar.end - span) / 2, (bar.start + bar.end + span) / 2);
		}
		view.changed();
	}
	return { draw, reveal, fillLegend, arrange };
})();
