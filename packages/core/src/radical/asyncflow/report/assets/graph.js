// The graph, from left to right: single tasks if they are few, else tasks by function.

const graph = (() => {
	const FEW = 120;
	const SHARE = 16;
	const BOX = { width: 168, height: 40, right: 64, below: 14 };
	const host = document.querySelector('#graph .drawn');
	let single;
	// Tasks by name; of many names, those that differ only in digits become one, as do rare ones.
	let labels;
	let functions;
	let critical;
	function group() {
		single = size <= FEW;
		let names = data.functions.map(([name]) => name);
		const collect = () => {
			const found = new Map();
			for (let place = 0; place < size; place++) {
				const name = names[functionOf(place)];
				if (!found.has(name)) found.set(name, []);
				found.get(name).push(place);
			}
			return [...found].sort((a, b) => b[1].length - a[1].length);
		};
		let found = collect();
		if (!single && found.length > FEW) {
			names = names.map((name) => name.replace(/\d+/g, '#'));
			found = collect();
			const kept = new Set(found.slice(0, FEW - 1).map(([name]) => name));
			names = names.map((name) => (kept.has(name) || found.length <= FEW ? name : 'other names'));
			found = collect();
		}
		labels = found.map(([name]) => name);
		functions = found.map(([, places]) => places);
		critical = new Set(data.critical.map(placeOf));
	}
	const shown = new Map(); // by name: how many of its tasks have a box of their own
	let scale = 0;
	let area = { width: 0, height: 0 };

	// Failures first, then the critical path, then those that took longest.
	function interesting(places) {
		const rank = (place) => (stateOf(place) === 'failed' ? 2 : 0) + (critical.has(place) ? 1 : 0);
		return [...places].sort((a, b) => rank(b) - rank(a) || took[b] - took[a] || a - b);
	}

	function nodes() {
		const found = [];
		const owner = new Int32Array(size);
		const add = (node) => {
			for (const place of node.places) owner[place] = found.length;
			found.push({ ...node, into: new Map(), out: new Map() });
		};
		functions.forEach((places, index) => {
			if (!places.length) return;
			const many = single ? places.length : (shown.get(labels[index]) ?? (places.length === 1 ? 1 : 0));
			const order = many && many < places.length ? interesting(places) : places;
			const alone = order.slice(0, many).sort((a, b) => a - b);
			for (const place of alone) add({ places: [place], index, single: true });
			const rest = order.slice(many);
			if (rest.length) add({ places: rest, index, rest: many > 0 });
		});
		for (const node of found) node.first = node.places.reduce((a, b) => Math.min(a, b), Infinity);
		for (let target = 0; target < size; target++)
			for (let at = edges.first[target]; at < edges.first[target + 1]; at++) {
				const from = owner[edges.after[at]];
				const to = owner[target];
				if (from === to) found[to].loop = (found[to].loop ?? 0) + 1;
				else found[from].out.set(to, (found[from].out.get(to) ?? 0) + 1);
			}
		found.forEach((node, place) => node.out.forEach((many, to) => found[to].into.set(place, many)));
		const hot = new Set();
		for (let at = 1; at < data.critical.length; at++)
			hot.add(`${owner[placeOf(data.critical[at - 1])]} ${owner[placeOf(data.critical[at])]}`);
		return { found, hot };
	}

	// A task comes after those that it waits for. An edge to an earlier node belongs to a cycle
	// that only the grouping made: it does not count.
	function layOut(found) {
		const order = found.map((_, place) => place).sort((a, b) => found[a].first - found[b].first);
		area = standTogether(partsOf(found, order).map((part) => layOutPart(found, part)));
	}

	// What is connected, each part in the order of its first task.
	function partsOf(found, order) {
		const parts = [];
		for (const start of order) {
			if (found[start].part !== undefined) continue;
			const places = [start];
			found[start].part = parts.length;
			for (const place of places)
				for (const near of [found[place].into, found[place].out])
					for (const other of near.keys())
						if (found[other].part === undefined) {
							found[other].part = parts.length;
							places.push(other);
						}
			parts.push([]);
		}
		for (const place of order) parts[found[place].part].push(place);
		return parts;
	}

	// Lay out the nodes of one part, *order*, and return them with the room that they need.
	function layOutPart(found, order) {
		const forward = (from, to) => found[from].first < found[to].first;
		for (const place of order) {
			const node = found[place];
			node.column = 0;
			for (const from of node.into.keys())
				if (forward(from, place)) node.column = Math.max(node.column, found[from].column + 1);
		}
		const columns = [];
		for (const place of order) (columns[found[place].column] ??= []).push(place);
		const tall = BOX.height + BOX.below;
		columns.forEach((column) => column.forEach((place, row) => (found[place].y = (row - (column.length - 1) / 2) * tall)));
		const mean = (near) => near.reduce((sum, place) => sum + found[place].y, 0) / near.length;
		for (let sweep = 0; sweep < 8; sweep++) {
			const back = sweep % 2;
			for (const column of back ? [...columns].reverse() : columns) {
				const wish = new Map(
					column.map((place) => {
						const near = [...(back ? found[place].out : found[place].into).keys()].filter((other) =>
							back ? forward(place, other) : forward(other, place),
						);
						return [place, near.length ? mean(near) : found[place].y];
					}),
				);
				column.sort((a, b) => wish.get(a) - wish.get(b) || found[a].first - found[b].first);
				let low = -Infinity;
				let shift = 0;
				for (const place of column) {
					found[place].y = Math.max(wish.get(place), low);
					shift += wish.get(place) - found[place].y;
					low = found[place].y + tall;
				}
				for (const place of column) found[place].y += shift / column.length;
			}
		}
		let top = Infinity;
		let bottom = -Infinity;
		for (const place of order) {
			top = Math.min(top, found[place].y);
			bottom = Math.max(bottom, found[place].y);
		}
		for (const place of order) {
			found[place].x = found[place].column * (BOX.width + BOX.right);
			found[place].y -= top;
		}
		return {
			nodes: order.map((place) => found[place]),
			width: columns.length * (BOX.width + BOX.right) - BOX.right,
			height: bottom - top + BOX.height,
		};
	}

	// Put the *parts* side by side, so that as much as can be is in view in boxes as large as can be.
	function standTogether(parts) {
		const gap = { right: BOX.right / 2, below: 2 * BOX.below };
		const covered = parts.reduce((sum, part) => sum + (part.width + gap.right) * (part.height + gap.below), 0);
		const widest = Math.max(...parts.map((part) => part.width));
		parts.sort((a, b) => b.height - a.height || b.width - a.width || a.nodes[0].first - b.nodes[0].first);
		let best = null;
		for (const width of [net.clientWidth - 34, net.clientWidth * 1.25, net.clientWidth * 1.6, 1.4 * Math.sqrt(covered)]) {
			const found = inRows(parts, Math.max(width, widest), gap);
			if (!best || fitting(found) > fitting(best)) best = found;
		}
		parts.forEach(({ nodes }, index) => {
			for (const node of nodes) {
				node.x += best.corners[index][0];
				node.y += best.corners[index][1];
			}
		});
		return best;
	}

	// Find the corners of *parts*, the tallest first, in rows of this width; low ones stand below
	// each other beside a tall one.
	function inRows(parts, width, gap) {
		let row = { top: 16, height: 0, right: 16 };
		let pile = null; // the parts that stand below each other: its left side, width and bottom
		let right = 0;
		const corners = parts.map((part) => {
			if (!pile || part.width > pile.width || pile.bottom + gap.below + part.height > row.top + row.height) {
				if (pile && row.right + part.width > width + 16) row = { top: row.top + row.height + gap.below, height: 0, right: 16 };
				row.height = Math.max(row.height, part.height);
				pile = { left: row.right, width: part.width, bottom: row.top - gap.below };
				row.right += part.width + gap.right;
			}
			const top = pile.bottom + gap.below;
			pile.bottom = top + part.height;
			right = Math.max(right, pile.left + part.width);
			return [pile.left, top];
		});
		return { corners, width: right + 16, height: row.top + row.height + 24 };
	}

	function shares(node) {
		const counts = {};
		for (const place of node.places) counts[stateOf(place)] = (counts[stateOf(place)] ?? 0) + 1;
		return ['done', 'reused', 'failed', 'cancelled', 'running', 'submitted', 'pending']
			.filter((state) => counts[state])
			.map((state) => [state, counts[state]]);
	}

	function drawNode(node) {
		const [place] = node.places;
		const states = shares(node);
		const bad = states.find(([state]) => state === 'failed');
		const time = node.places.reduce((sum, each) => sum + took[each], 0);
		const name = labels[node.index];
		const many = node.places.length;
		const title = node.single ? nameOf(place) : node.rest ? `${grouped(many)} more ${name}` : name;
		const sub = node.single
			? `${idOf(place)} · ${stateOf(place) === 'done' ? seconds(took[place]) : stateOf(place)}`
			: `${plural(many, 'task')} · ${bad ? `${grouped(bad[1])} failed` : seconds(time)}`;
		const act = () => (node.single ? (location.hash = `task-${numberOf(place)}`) : expand(node.index));
		const box = make('g', {
			class: `node${node.places.some((each) => critical.has(each)) ? ' critical' : ''}`,
			transform: `translate(${node.x} ${node.y})`,
			tabindex: '0',
			role: 'button',
			'aria-label': `${title}, ${sub}${node.single ? '' : ', show its tasks'}`,
			click: act,
			pointerleave: hideTip,
		});
		box.addEventListener('keydown', (event) => {
			if (event.key !== 'Enter' && event.key !== ' ') return;
			event.preventDefault();
			act();
		});
		box.addEventListener('pointermove', (event) => {
			const lines = [title, sub, ...(node.single ? [] : [seconds(time), ...states.map(([state, count]) => `${grouped(count)} ${state}`)])];
			if (node.loop) lines.push(`${plural(node.loop, 'dependency', 'dependencies')} among these tasks`);
			if (!node.single) lines.push('click to show single tasks');
			showTip(lines.join('\n'), event.clientX, event.clientY);
		});
		if (!node.single)
			box.append(make('rect', { class: 'box', x: 4, y: -4, width: BOX.width, height: BOX.height, rx: 4 }));
		box.append(make('rect', { class: 'box', width: BOX.width, height: BOX.height, rx: 4 }));
		box.append(
			make('text', { x: 10, y: 16 }, shorten(title, 24)),
			make('text', { x: 10, y: 30, class: 'sub' }, shorten(sub, 29)),
		);
		let x = 1;
		for (const [state, count] of states) {
			const width = ((BOX.width - 2) * count) / many;
			box.append(make('rect', { class: `is-${state}`, x, y: BOX.height - 4, width, height: 3 }));
			x += width;
		}
		return box;
	}

	const shorten = (line, most) => (line.length > most ? line.slice(0, most - 1) + '…' : line);

	function drawEdge(from, to, many, hot) {
		const [x1, y1] = [from.x + BOX.width, from.y + BOX.height / 2];
		const [x2, y2] = [to.x, to.y + BOX.height / 2];
		const back = x2 <= x1;
		const bend = back ? 60 : Math.max(24, (x2 - x1) / 2);
		const path = back
			? `M${x1} ${y1}C${x1 + bend} ${y1 + 50} ${x2 - bend} ${y2 + 50} ${x2 - 2} ${y2}`
			: `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2 - 2} ${y2}`;
		return make(
			'path',
			{ d: path, class: hot ? 'hot' : undefined, 'marker-end': 'url(#arrow)' },
			make('title', {}, plural(many, 'dependency', 'dependencies')),
		);
	}

	const net = make('div', { class: 'net', tabindex: '0', role: 'region', 'aria-label': 'Graph of the tasks' });
	const count = make('span', { class: 'note window' });
	const collapse = () => {
		shown.clear();
		draw(true);
	};
	const close = make('button', { type: 'button', click: collapse }, 'Collapse');
	const zoomBy = (factor) => () => resize(scale * factor);
	const tools = make(
		'div',
		{ class: 'bar' },
		make(
			'div',
			{ class: 'group', role: 'group', 'aria-label': 'Size' },
			make('button', { type: 'button', 'aria-label': 'Larger', click: zoomBy(1.25) }, '+'),
			make('button', { type: 'button', 'aria-label': 'Smaller', click: zoomBy(0.8) }, '−'),
			make('button', { type: 'button', click: () => resize(fitting()) }, 'Fit'),
		),
		close,
		count,
	);

	function expand(index) {
		const now = shown.get(labels[index]) ?? 0;
		shown.set(labels[index], Math.min(functions[index].length, now + SHARE));
		draw(false);
	}

	const fitting = (room = area) => Math.min(1, (net.clientWidth - 2) / room.width, (innerHeight * 0.7) / room.height);
	function resize(to) {
		scale = clamp(to, 0.04, 3);
		const svg = net.querySelector('svg');
		svg.setAttribute('width', area.width * scale);
		svg.setAttribute('height', area.height * scale);
	}

	function draw(fresh) {
		hideTip();
		if (!size) {
			net.replaceChildren(make('p', { class: 'empty' }, 'The run called no tasks.'));
			return;
		}
		const { found, hot } = nodes();
		layOut(found);
		const svg = make('svg', { viewBox: `0 0 ${area.width} ${area.height}`, role: 'group', 'aria-label': 'Tasks and their dependencies' });
		const arrow = make(
			'marker',
			{ id: 'arrow', viewBox: '0 0 8 8', refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: 'auto-start-reverse', markerUnits: 'userSpaceOnUse' },
			make('path', { d: 'M0 0L8 4L0 8z' }),
		);
		svg.append(make('defs', {}, arrow));
		let total = 0;
		found.forEach((node, from) =>
			node.out.forEach((many, to) => {
				total += many;
				svg.append(drawEdge(node, found[to], many, hot.has(`${from} ${to}`)));
			}),
		);
		found.forEach((node) => {
			total += node.loop ?? 0;
			svg.append(drawNode(node));
		});
		net.replaceChildren(svg);
		close.hidden = !shown.size;
		count.textContent = `${plural(size, 'task')}, ${plural(total, 'dependency', 'dependencies')}; the critical path is outlined`;
		resize(fresh || !scale ? clamp(fitting(), 0.6, 1) : scale);
		// The dependencies of a tall column stand beside its middle.
		if (!fresh) net.scrollTop = (net.scrollHeight - net.clientHeight) / 2;
	}

	return {
		build() {
			host.append(tools, net);
			host.hidden = false;
			group();
			draw(true);
		},
		// Draw what is new; what was opened stays open, and the place in view stays.
		update() {
			const [x, y, fresh] = [net.scrollLeft, net.scrollTop, !net.querySelector('svg')];
			group();
			draw(fresh);
			if (!fresh) net.scrollTo(x, y);
		},
	};
})();
