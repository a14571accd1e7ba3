// A run that goes on: take in what the server tells, and draw again what that changes.

const connection = (() => {
	const sign = document.getElementById('connection');
	const LAST = ['done', 'failed', 'cancelled', 'preempted', 'killed'];
	let source = null;
	let last = '';
	let pause = 500;
	let state = '';
	let epoch = '';
	let told = 0; // when the last message came

	// Change *old*, an element of the page, into *fresh*; what is open, focused or scrolled stays so.
	function morph(old, fresh) {
		for (const { name, value } of fresh.attributes)
			if (name !== 'open' && old.getAttribute(name) !== value) old.setAttribute(name, value);
		for (const { name } of [...old.attributes])
			if (name !== 'open' && name !== 'aria-current' && !fresh.hasAttribute(name)) old.removeAttribute(name);
		morphChildren(old, fresh);
	}

	function morphChildren(old, fresh) {
		const [theirs, ours] = [[...fresh.childNodes], [...old.childNodes]];
		theirs.forEach((child, index) => {
			const own = ours[index];
			if (!own) old.append(document.importNode(child, true));
			else if (own.nodeName !== child.nodeName) own.replaceWith(document.importNode(child, true));
			else if (child.nodeType === Node.ELEMENT_NODE) morph(own, child);
			else if (own.nodeValue !== child.nodeValue) own.nodeValue = child.nodeValue;
		});
		for (const own of ours.slice(theirs.length)) own.remove();
	}

	// The server wrote these parts as it wrote the page, with every text escaped.
	function setPart(name, html) {
		const fresh = new DOMParser().parseFromString(`<body>${html}`, 'text/html').body;
		morphChildren(document.querySelector(`[data-part="${name}"]`), fresh);
	}

	// Do *work* when there is time and its section is in view, and never for most of the time.
	function seldom(section, work, least = 250) {
		const host = document.getElementById(section);
		let due = false;
		let waiting = 0;
		let seen = false;
		let drawn = 0;
		const run = () => {
			waiting = 0;
			if (!due || (!seen && drawn > 2) || document.hidden) return;
			due = false;
			drawn++;
			const began = performance.now();
			work();
			waiting = setTimeout(run, Math.max(least, 15 * (performance.now() - began)));
		};
		new IntersectionObserver(([entry]) => {
			seen = entry.isIntersecting;
			if (seen && !waiting) run();
		}, { rootMargin: '200px' }).observe(host);
		document.addEventListener('visibilitychange', () => !waiting && run());
		return () => {
			due = true;
			if (!waiting) waiting = setTimeout(run, 0);
		};
	}

	const redraw = {
		graph: seldom('graph', () => {
			data.critical = criticalPath();
			graph.update();
		}, 1000),
		tasks: seldom('tasks', () => tasks.update(), 700),
		usage: seldom('utilisation', () => {
			usage.build();
			view.changed();
		}, 500),
	};

	// The chain of dependencies that took longest, as numbers; blocks count as no time.
	function criticalPath() {
		const best = new Float64Array(size);
		const before = new Int32Array(size).fill(-1);
		let end = -1;
		for (let place = 0; place < size; place++) {
			for (const source of above(place))
				if (source < place && (before[place] < 0 || best[source] > best[before[place]])) before[place] = source;
			best[place] = (kindOf(place) === 'block' ? 0 : took[place]) + (before[place] < 0 ? 0 : best[before[place]]);
			if (best[place] > 0 && (end < 0 || best[place] > best[end])) end = place;
		}
		const path = [];
		for (let place = end; place >= 0; place = before[place]) path.push(numberOf(place));
		return path.reverse();
	}

	function addNames(told) {
		let drawn = false;
		for (const name of ['functions', 'backends', 'workers', 'workflows', 'causes']) if (told[name]) data[name].push(...told[name]);
		if (told.functions) drawn = true;
		for (const lane of told.lanes ?? []) {
			data.lanes.push(lane);
			bars.push([]);
			drawn = true;
		}
		if (drawn) {
			timeline.arrange();
			timeline.fillLegend();
		}
	}

	function take(told) {
		addNames(told);
		if (told.slots) data.slots = told.slots;
		let changed = [];
		if (told.rows) {
			changed = addRows(told.rows);
			for (const place of changed) addBar(place);
		}
		for (const [number, attempt, lane, start, end, type] of told.attempts ?? []) {
			const row = [number, attempt, lane, start, end, [type, null, null]];
			data.failed.push(row);
			if (placeOf(number) === undefined) continue; // beyond what the page lists
			addFailed(row);
			addFailedBar(row);
			addUp(placeOf(number));
		}
		const whole = view.whole;
		runLength = told.now;
		for (const bar of runningBars) bar.end = Math.max(runLength, bar.start);
		sortBars();
		if (whole) view.all();
		else view.changed();
		for (const [name, html] of Object.entries(told.parts ?? {})) setPart(name, html);
		state = told.state;
		document.documentElement.dataset.state = state;
		if (told.title) document.title = told.title;
		if (changed.length) {
			for (const draw of Object.values(redraw)) draw();
			panel.update(changed);
		} else if (runningBars.size) redraw.usage();
		if (told.more) return;
		document.documentElement.dataset.current = 'true';
		if (mayCome) route(); // to the task that the address names, which was not here before
	}

	function show() {
		const ended = LAST.includes(state);
		const lost = source === null && !ended;
		const words = ended
			? 'The run is over. This page stays as it is.'
			: lost
				? 'No connection: the program may have ended, or the tunnel is closed. Trying again…'
				: state === 'unknown'
					? 'Nobody can say from here whether the program still runs.'
					: state ? 'Live' : 'Waiting for the run to begin…';
		const kind = ended ? 'over' : lost ? 'lost' : 'live';
		if (sign.textContent !== words) sign.textContent = words;
		sign.dataset.kind = kind;
	}

	function connect() {
		const address = new URL('events', location.href);
		if (last) address.searchParams.set('after', last);
		const opened = new EventSource(address);
		opened.onmessage = (event) => {
			source = opened;
			pause = 500;
			const message = JSON.parse(event.data);
			const model = event.lastEventId.split('.')[0];
			if (epoch && model !== epoch) {
				location.reload(); // another run, or a server that was started again
				opened.close();
				return;
			}
			epoch = model;
			last = event.lastEventId;
			take(message);
			show();
			if (message.last) opened.close();
		};
		opened.onerror = () => {
			opened.close();
			source = null;
			show();
			if (LAST.includes(state)) return;
			setTimeout(connect, pause);
			pause = Math.min(pause * 1.6, 5000);
		};
	}
	return { connect, show };
})();
connection.show();
connection.connect();
