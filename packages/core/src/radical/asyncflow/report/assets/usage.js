// Utilisation: how many slots of each backend were busy in the period shown.

const usage = (() => {
	const HEIGHT = 92;
	const counted = () => data.slots
		.filter(([, slots]) => slots > 0)
		.map(([backend, slots, up, down]) => {
			// Starts and ends in order, and how many run after each; from them follows any sum.
			const edgesOfTime = [];
			data.lanes.forEach(([owner], lane) => {
				if (owner !== backend) return;
				for (const bar of bars[lane]) {
					const cores = coresOf(bar.place);
					edgesOfTime.push([bar.start, cores]);
					if (!runningBars.has(bar) || !isLive) edgesOfTime.push([bar.end, -cores]);
				}
			});
			edgesOfTime.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
			const moments = new Float64Array(edgesOfTime.length);
			const running = new Float64Array(edgesOfTime.length);
			const total = new Float64Array(edgesOfTime.length);
			let now = 0;
			edgesOfTime.forEach(([time, change], place) => {
				moments[place] = time;
				total[place] = place ? total[place - 1] + now * (time - moments[place - 1]) : 0;
				now += change;
				running[place] = now;
			});
			return { name: listed(data.backends, backend), slots, moments, running, total, up: up * data.unit, down: down * data.unit };
		});

	// Return the busy seconds from the beginning of the run to *time*.
	function until(row, time) {
		const low = search(row.moments.length, (index) => row.moments[index] <= time);
		if (!low) return 0;
		return row.total[low - 1] + row.running[low - 1] * (time - row.moments[low - 1]);
	}

	const host = document.querySelector('#utilisation .drawn');
	let charts = [];
	// Count again, and make a chart for each backend that has none yet.
	function build() {
		const rows = counted();
		charts = rows.map((row) => {
			const old = charts.find((each) => each.row.name === row.name);
			if (old) {
				old.row = row;
				return old;
			}
			const canvas = make('canvas', { class: 'usage', role: 'img', 'aria-label': `Busy slots of ${row.name} over time` });
			const mean = make('span', { class: 'note' });
			const chart = { row, canvas, mean };
			canvas.addEventListener('pointermove', (event) => {
				const bin = (view.to - view.from) / width;
				const time = view.from + bin * (event.clientX - canvas.getBoundingClientRect().left);
				const busy = (until(chart.row, time + bin) - until(chart.row, time)) / bin;
				showTip(`${moment(time)}\n${+busy.toFixed(1)} of ${plural(chart.row.slots, 'slot')} busy`, event.clientX, event.clientY);
			});
			canvas.addEventListener('pointerleave', hideTip);
			none.remove();
			host.append(make('h4', {}, row.name, ' ', mean), canvas);
			return chart;
		});
	}
	const none = make('p', { class: 'empty' }, 'Nothing ran on a backend.');
	host.append(none);
	host.hidden = false;

	let width = 0;
	function draw() {
		if (!charts.length) return;
		width = host.clientWidth;
		for (const { row, canvas, mean } of charts) {
			const pen = prepare(canvas, width, HEIGHT);
			const top = 20;
			const span = view.to - view.from;
			axis(pen, 0, width, 8, HEIGHT);
			pen.beginPath();
			pen.moveTo(0, HEIGHT);
			let before = until(row, view.from);
			const bin = width > 900 ? 2 : 1;
			for (let x = 0; x < width; x += bin) {
				const sum = until(row, view.from + (span * (x + bin)) / width);
				const part = (sum - before) / ((span * bin) / width) / row.slots;
				before = sum;
				const y = HEIGHT - (HEIGHT - top) * clamp(part, 0, 1);
				pen.lineTo(x, y);
				pen.lineTo(x + bin, y);
			}
			pen.lineTo(width, HEIGHT);
			pen.closePath();
			pen.globalAlpha = 0.75;
			pen.fillStyle = palette.done;
			pen.fill();
			pen.globalAlpha = 1;
			pen.fillStyle = palette.strong;
			pen.fillRect(0, top, width, 1);
			pen.fillRect(0, HEIGHT - 1, width, 1);
			const there = [clamp(view.from, row.up, row.down), clamp(view.to, row.up, row.down)];
			const lasted = (there[1] - there[0]) * row.slots;
			const part = lasted ? (until(row, there[1]) - until(row, there[0])) / lasted : 0;
			mean.textContent =
				`${Math.round(100 * clamp(part, 0, 1))} % of ${plural(row.slots, 'slot')} ` +
				(view.whole ? 'while it was up' : 'in this period');
		}
	}

	build();
	view.listeners.push(draw);
	return { draw, build };
})();
