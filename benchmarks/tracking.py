"""Who is who in synthetic videos: walkers who cross, leave and come back, seen by a detector that errs.

    python benchmarks/tracking.py [--videos 20]

For each number of people `--videos` videos of 10 s at 25 frames a second; keypoints with 1 % noise, 3 % of the people
missed, 5 % of the keypoints lost, those behind somebody hidden, 3 % invented people, in an order that means nothing.
No pixels, so no clothes. IDF1 as Ristani et al. 2016, over frames in which a person is detected.
"""

import argparse
import time

import numpy as np
from _common import finish

from hmrfit.build import load_body
from hmrfit.synthetic.walking import DetectorErrors, observe, random_paths, walkers
from hmrfit.video.tracking import purity, track_people


def main() -> None:
    """Prints a line for each number of people, and JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=20)
    videos = parser.parse_args().videos
    body, line = load_body("free_body"), dict[str, float]()
    for people in (2, 3, 4):
        scores, frames, seconds = [], 0, 0.0
        for seed in range(videos):
            rng = np.random.default_rng(seed)
            found = observe(walkers(body, random_paths(rng, people, 10.0), 25.0), body, DetectorErrors(), rng)
            began = time.process_time()
            tracks = track_people(found.seen, 25.0).tracks
            seconds += time.process_time() - began
            frames += 250
            scores.append(purity(found.truth, tracks))
        idf1, switches = (float(np.mean([s[name] for s in scores])) for name in ("idf1", "switches"))
        spent = f"{1000 * seconds / frames:.2f} ms a frame"
        print(f"{people} people: IDF1 {idf1:.3f}, {switches:.2f} switches a video, {spent}")
        line |= {f"idf1_{people}": round(idf1, 4), f"switches_{people}": round(switches, 3)}
    finish(benchmark="tracking", videos=videos, **line)


if __name__ == "__main__":
    main()
