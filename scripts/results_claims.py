"""Check sentences of the results pages against the data in docs/results.

python scripts/results_claims.py [--check]    # prints every claim; exit status 1 where a page does not say it

Each claim is a piece of text as it must stand on a page, made here from the data. So a number that is changed on the
page alone, or in the data alone, is found. Tables are made by `results_tables.py` and figures by `results_figures.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean, median
from typing import Any

from ablation_tables import claims as ablations
from made_pages import short
from results_tables import fidelity_rows, report, share, steps, sweep_scores

from zerosearch.episodes.statistics import between_runs

ROOT = Path(__file__).parent.parent
RECIPE, EARLIER = "recipes/beat-rag/README.md", "recipes/beat-rag/earlier.md"
BEAT, OVERVIEW, SPEED = "docs/results/beat-rag.md", "docs/results.md", "docs/performance.md"
SCALE = "docs/scale.md"

Run = list[dict[str, Any]]
Claims = Iterator[tuple[str, str]]


def mean(run: Run, key: str, digits: int = 2) -> str:
    return short(fmean(row[key] for row in run), digits)


def seconds(run: Run) -> list[float]:
    return [row["timing"]["seconds"] for row in run]


def learned(run: Run) -> str:
    """How a run began and ended."""
    reward = f"Reward {mean(run[:1], 'reward')} to {mean(run[-10:], 'reward')} (first step, mean of the last ten)"
    return f"{reward}, entropy {mean(run[:1], 'entropy')} to {mean(run[-1:], 'entropy')}"


def beat_rag() -> Claims:
    fifth, tenth = steps("beat-rag-passages-fifth"), steps("beat-rag-passages-tenth")
    gaps = [row["sampler_gap"] for row in fifth]
    yield EARLIER, f"{learned(fifth)}, sampler gap {short(min(gaps))} to {short(max(gaps))}"
    asked = sum(row["engine_calls"] for row in fifth)
    yield EARLIER, f"{fifth[-1]['cost']['searches']:,} searches, of which {asked:,} asked the simulator"
    yield EARLIER, f"| **price .2** ({len(fifth)} steps) |"
    yield EARLIER, f"| price .1 ({len(tenth)} steps) |"

    seeds = [steps(f"beat-rag-concise-{seed}") for seed in range(4)]
    for seed, rows in enumerate(seeds):
        yield RECIPE, f"Seed {seed}: {learned(rows)}."
        yield RECIPE, f"| seed {seed} ({len(rows)} steps) |"
    *most, last = [str(len(rows)) for rows in seeds]
    yield BEAT, f"{', '.join(most)} and {last} steps of {seeds[0][0]['episodes']} episodes"
    gaps = [row["sampler_gap"] for rows in seeds for row in rows]
    yield RECIPE, f"Sampler gap {short(min(gaps))} to {short(max(gaps))}"
    total = sum(rows[-1]["cost"]["searches"] for rows in seeds)
    asked = sum(row["engine_calls"] for rows in seeds for row in rows)
    yield RECIPE, f"{total:,} searches, of which {asked:,} asked the simulator"
    yield BEAT, f"{total:,} searches"
    found, asked_for = report("fidelity-passages-whole"), report("fidelity-passages-policy")
    whole, queries = found["kinds"]["whole"], asked_for["kinds"]["query"]
    for page in (RECIPE, BEAT):
        yield page, short(whole["useful"])
        yield page, short(queries["useful"])
        yield page, f"{short(found['style_auc']['useful'], 2)} and {short(asked_for['style_auc']['useful'], 2)}"
        yield page, f"{short(found['whole_pages'], 2)} and {short(asked_for['whole_pages'], 2)} of the pages"
    answered = f"the {found['findable']} questions that BM25 answers the simulator answers"
    yield BEAT, f"{answered} {short(found['control']['useful'], 2)}"
    yield BEAT, f"of {found['leak']['queries']} others {short(found['leak']['useful'], 2)}"
    unneeded, more = steps("beat-rag-unneeded"), steps("beat-rag-unneeded-more")
    yield EARLIER, f"{learned(unneeded)}, sampler gap"
    yield EARLIER, learned(more)
    fell, rose = (mean(unneeded[place : place + 1], "searches") for place in (4, 9))
    yield EARLIER, f"fell to {fell} in steps 4 and 5 and rose to {rose} in step 10"
    asked = sum(row["engine_calls"] for row in unneeded)
    yield EARLIER, f"{unneeded[-1]['cost']['searches']:,} searches, of which {asked:,} asked the simulator"
    yield EARLIER, f"({len(unneeded)} steps) |"
    yield EARLIER, f"({len(more)} steps more) |"

    compared = steps("beat-rag-comparing")
    yield EARLIER, f"{learned(compared)}, every page"
    asked = [mean([row], "searches") for row in compared]
    yield (
        EARLIER,
        f"searched {asked[0]} times in the first step, {asked[2]} in the third, {asked[3]} from the fourth on",
    )
    yield EARLIER, f"fell to {mean(fifth[8:9], 'searches')} in the"
    yield EARLIER, f"{len(compared)} steps in 8.0 minutes"
    whole, middle = sum(seconds(compared)) / 60, median(seconds(compared)[3:])
    yield (
        SPEED,
        f"**{len(compared)} steps of 384 episodes in a row took {whole:.1f} minutes**, {middle:.1f} seconds each",
    )

    decided = steps("beat-rag-simulated-two-hop")
    yield EARLIER, learned(decided)
    yield EARLIER, f"searched {mean(decided[-1:], 'searches')} times in training"
    yield EARLIER, f"`pages_as_decided` {min(row['pages_as_decided'] for row in decided):.2f}"
    yield EARLIER, f"{len(decided)} steps of 48 x 8 episodes in 7.6 minutes"

    real = steps("beat-rag-two-hop")
    ends = [mean(real[:5], "reward"), mean(real[-5:], "reward")]
    both = f"reward {ends[0]} over the first five steps and {ends[1]} over the last five"
    yield RECIPE, f"{both}, entropy {mean(real[:1], 'entropy')} to {mean(real[-1:], 'entropy')}"
    yield RECIPE, f"sampled episodes searched {mean(real[:1], 'searches')} times"
    yield RECIPE, f"then {len(real)} steps of GRPO"
    lagged = steps("beat-rag-two-hop-more")
    yield EARLIER, f"(gap up to {max(row['sampler_gap'] for row in lagged):.2f} nats a token".replace("0.", ".")
    yield EARLIER, f"stopped by the same gap at step {len(steps('beat-rag-prompted-stale'))}"

    tuned = steps("beat-rag-tuned")
    fewer = f"({mean(tuned[:1], 'searches')} to {mean(tuned[-1:], 'searches')}; the rate was 1e-4"
    yield EARLIER, f"{fewer}, entropy {mean(tuned[:1], 'entropy')} to {mean(tuned[-1:], 'entropy')})"
    first, prompted = steps("beat-rag-real"), steps("beat-rag-prompted")
    for label, run in (("real engine", first), ("prompted simulator", prompted)):
        ends = [f"{mean(run[:5], key, n)} -> {mean(run[-5:], key, n)}" for key, n in (("reward", 3), ("searches", 2))]
        yield EARLIER, f"| {label} | {len(run)} | {ends[0]} | {ends[1]} |"
    yield EARLIER, f"({median(seconds(first)):.1f} and {median(seconds(prompted)):.1f} seconds a step)"


def demo_gpu() -> Claims:
    page = "docs/results/demo-gpu.md"
    grpo, reinforce, ppo = (steps(f"demo-gpu-{name}") for name in ("grpo", "reinforce", "ppo"))
    yield page, f"| steps | 0 | {len(grpo)} | {len(reinforce)} | {len(ppo)} |"
    yield page, f"fell from {mean(grpo[8:9], 'reward')} at step 9 to about {mean(grpo[-10:], 'reward', 1)}"
    yield OVERVIEW, f"after {len(reinforce)} steps"


def methods() -> Claims:
    page = "docs/results/eight-methods.md"
    rows = {row["method"]: row for row in report("evaluate-qwen")["rows"]}
    em = {name: 100 * row["micro"]["value"] for name, row in rows.items()}
    rag = rows["rag"]["micro"]
    yield page, f"`rag` has EM {em['rag']:.1f} [{100 * rag['low']:.1f}, {100 * rag['high']:.1f}]"
    trained = em["zerosearch"] - em["episode"]
    yield page, f"raised the policy by **{trained:.1f}** points"
    yield page, f"from {em['episode']:.1f} to {em['zerosearch']:.1f} (p < .001)"
    yield page, f"stays {em['rag'] - em['zerosearch']:.1f} points below `rag`"
    yield page, f"is {em['direct'] - em['cot']:.1f} points below `direct`"
    b = {name: row["behaviour"] for name, row in rows.items()}
    held = [f"{100 * b[name]['evidence']:.0f}" for name in ("react", "episode", "rag")]
    yield page, f"({held[0]}, {held[1]} and {held[2]} % of questions)"
    yield page, f"({b['zerosearch']['searches']:.2f} times, before {b['episode']['searches']:.2f})"
    yield page, f"({100 * b['zerosearch']['evidence']:.1f} and {100 * b['episode']['evidence']:.1f} %)"
    yield OVERVIEW, f"EM {em['episode']:.1f} -> {em['zerosearch']:.1f}, +{trained:.1f} [3.3, 7.3]"
    every = f"trained {em['zerosearch']:.1f}, the same untrained {em['episode']:.1f}, `direct` {em['direct']:.1f}"
    yield OVERVIEW, f"`rag` {em['rag']:.1f}, {every}"
    yield (
        "docs/results/make-simulator.md",
        f"| A: EM | {short(em['episode'] / 100)} | {short(em['zerosearch'] / 100)} |",
    )


def embedded() -> Claims:
    page = "docs/results/embedded-simulator.md"
    found, again = report("fidelity-embedded"), report("fidelity-embedded-rewrites-3")
    kinds, third = fidelity_rows(found), fidelity_rows(again)
    count, _, useful, noisy = kinds["control"]
    few, _, leak, _ = kinds["leak"]
    yield page, f"useful page does in **{share(useful, count)}**".replace(" [", "** [", 1).replace("]**", "]")
    yield page, f"its noisy page in {share(noisy, count)}"
    yield page, f"all the same in **{short(leak)}** {share(leak, few).partition(' ')[2]}: that is its leak"
    yield page, f"faithful to whole questions** ({short(kinds['whole'][2])}, BM25 {short(kinds['whole'][1])})"
    yield page, f"{100 * found['whole_pages']:.1f} % of pages have all three documents in form"
    auc = found["style_auc"]
    yield page, f"with an AUC of {short(auc['useful'], 2)}, noisy ones with {short(auc['noisy'], 2)}"
    prompt = found["answer_in_prompt"]
    told = f"{short(prompt['without'], 2)} of {prompt['queries']} cases, with them in {short(prompt['with'], 2)}"
    yield page, f"contain the answer in {told}"
    last = [useful, noisy, leak, third["control"][2], third["control"][3], third["leak"][2], third["second_hop"][2]]
    yield page, f"(as it ships) | {' | '.join(map(short, last))} |"
    yield OVERVIEW, f"{share(useful, count)} and {short(noisy)} ([embedded]"
    yield OVERVIEW, f"useful {short(useful)}, noisy {short(noisy)} where BM25 finds the answer; leak {short(leak)}"


def tuned() -> Claims:
    page = "docs/results/simulator-tuned.md"
    kinds, others = fidelity_rows(report("fidelity-qwen-tuned")), fidelity_rows(report("fidelity-qwen-tuned-others"))
    prompted = fidelity_rows(report("fidelity-qwen-prompted"))
    three = fidelity_rows(report("fidelity-qwen-tuned-rewrites-3"))["control"]
    count, _, useful, noisy = kinds["control"]
    few, _, leak, _ = kinds["leak"]
    ends = share(useful, count).partition(" ")[2]
    yield page, f"**{short(useful)}** {ends} (prompted {short(prompted['control'][2])})"
    yield page, f"its noisy page in {short(noisy)} (prompted {short(prompted['control'][3])})"
    yield page, f"**{short(leak)}** {share(leak, few).partition(' ')[2]}, no less than the prompted model's"
    yield page, f"({share(prompted['leak'][2], few)}, p = .13)"
    plain = fidelity_rows(report("fidelity-qwen-tuned-no-plan"))["leak"][2]
    yield page, f"from {short(plain)} without a plan to {short(leak)}"
    yield page, f"{round(three[2] * three[0])} of {three[0]}"
    several, real, whole, _ = others["whole_multi_hop"]
    yield page, f"finds the answers of {round(real * several)} of {several} questions of several hops"
    yield page, f"hold those of {round(whole * several)}, which is about its share for the 99"
    yield page, f"for the 99 ({round(kinds['whole_multi_hop'][2] * kinds['whole_multi_hop'][0])})"
    yield OVERVIEW, f"useful pages do in {share(useful, count)}, its noisy ones in {short(noisy)} ([1.5B]"
    leaks = f"leak {short(leak)} and {short(prompted['leak'][2])}"
    yield OVERVIEW, f"useful {short(useful)} and {short(prompted['control'][2])}; {leaks}"


def make_simulator() -> Claims:
    page = "docs/results/make-simulator.md"
    a, b = steps("make-simulator-grpo"), steps("make-simulator-grpo-kl")
    drift, leaky = steps("make-simulator-grpo-drift"), steps("make-simulator-grpo-leaky")
    for run, number in ((a, "16 (weights of 15 kept)"), (b, "13"), (drift, "10"), (leaky, "9")):
        assert number.split()[0] == str(len(run))
        took = f"{min(seconds(run)):.0f} to {max(seconds(run)):.0f}"
        yield page, f"| {number} | {took} | {run[-1]['cost']['searches']:,} |"
    rise = f"rose from {mean(leaky[:3], 'reward', 3)} to {mean(leaky[-3:], 'reward', 3)} (means of three steps)"
    yield page, f"{rise} while searches rose from {mean(leaky[:1], 'searches')} to {mean(leaky[-1:], 'searches')}"
    yield page, f"{mean(b[:3], 'evidence')} of episodes (steps 1 to 3) and {mean(b[10:], 'evidence')} (steps 11 to 13)"
    yield page, f"noise to {100 * drift[-1]['noise']:.0f} %"


def verl() -> Claims:
    page, run = "recipes/verl-offline/README.md", steps("verl-two-gpus")
    f1, searches = ([short(run[place][f"search/{key}"], 2) for place in (0, -1)] for key in ("f1", "searches"))
    yield page, f"{f1[0]} in the first step, {f1[1]} in the fifteenth"
    yield page, f"searches an episode {searches[0]} and {searches[1]}"
    alone = run[3:]
    middle = [f"{median(row[f'timing_s/{key}'] for row in alone):.1f}" for key in ("step", "gen", "update_actor")]
    yield page, f"| {middle[0]} seconds: 15 episodes a second |"
    yield page, f"| {middle[1]} |"
    yield page, f"| {middle[2]} |"
    agree = [row["training/rollout_actor_probs_pearson_corr"] for row in alone]
    yield page, f"| {short(max(agree), 4)} to {short(min(agree), 4)}: it falls with the entropy"
    yield page, f"at most {max(row['actor/perf/max_memory_allocated_gb'] for row in run):.1f}"

    ours, one = steps("one-gpu-beside-verl"), steps("one-gpu-beside-verl-1")
    again, third, fourth = (steps(f"verl-two-gpus-{name}") for name in ("again", "third", "fourth"))
    for label, key in (
        ("F1 of the sampled episodes, step 1, 5, 10, 15, 20", "f1"),
        ("searches an episode, the same steps", "searches"),
    ):
        starts = ([row[f"search/{key}"] for row in rows] for rows in (run, again, third, fourth))
        cells = [[row[key] for row in ours], *starts]
        told = [
            ", ".join(short(values[step - 1], 2) for step in (1, 5, 10, 15, 20) if step <= len(values))
            for values in cells
        ]
        yield page, f"| {label} | {' | '.join(told)} |"
    spent = seconds(ours)
    verls = [[row["timing_s/step"] for row in rows] for rows in (run, again, third, fourth)]
    first = f"| {median(spent[2:18]):.1f} (steps 3 to 18) | {median(verls[0][3:6]):.1f} (steps 4 to 6)"
    yield page, f"{first} | {median(verls[1][1:]):.1f} (steps 2 to 6) | {median(verls[2][3:6]):.1f} (steps 4 to 6) | |"
    last = f"| {spent[18]:.1f} and {spent[19]:.1f} (steps 19 and 20)"
    two, shared, late = (f"{min(some):.1f} to {max(some):.1f}" for some in (verls[0][6:9], verls[2][7:], verls[3][12:]))
    yield page, f"{last} | {two} (steps 7 to 9) | | {shared}, GPUs shared (steps 8 to 13) | {late} (steps 13 to 20) |"
    f1 = [short(fourth[place]["search/f1"], 2) for place in (0, -1)]
    yield page, f"F1 {' to '.join(f1)}, with metrics of all {len(fourth)} steps"
    yield SCALE, f"20 steps of 320 episodes: F1 from {f1[0]} to {f1[1]}"
    begun = [second_search(rows, "search/searches") for rows in (run, again, third, fourth)]
    yield page, f"verl in steps {', '.join(map(str, begun[:3]))} and {begun[3]} of its four starts"
    found = [second_search(rows, "searches") for rows in (ours, one)]
    yield page, f"ours in step {found[0]} (seed 0), in step {found[1]} (seed 1)"
    low = min(row["training/rollout_actor_probs_pearson_corr"] for row in fourth)
    yield SCALE, f"correlate by {short(low)} and more in that run"
    yield page, f"of the first {len(third)} steps: F1 {' to '.join(short(third[n]['search/f1'], 2) for n in (0, -1))}"
    yield page, f"{short(ours[17]['f1'], 2)} to {short(ours[19]['f1'], 2)} in two steps"
    for seed in (1, 2):
        rows = steps(f"one-gpu-beside-verl-{seed}")
        told = [", ".join(short(rows[step - 1][key], 2) for step in (1, 5, 10, 15, 20)) for key in ("f1", "searches")]
        yield page, f"| {seed} | {told[0]} | {told[1]} |"
    yield SPEED, f"a step of 320 episodes took {median(spent[2:18]):.1f} seconds"
    drift = [row["rollout_corr/k3_kl"] for row in run]
    yield SPEED, f"(k3 from {short(drift[0], 4)} to {short(max(drift), 4)} in {len(run)} steps)"


def second_search(run: Run, key: str) -> int:
    """The first step with 1.5 searches an episode."""
    return next(step for step, row in enumerate(run, 1) if row[key] >= 1.5)


def machines() -> Claims:
    one, two = (median(seconds(steps(f"two-gpus-{name}"))) for name in ("one-process", "two-processes"))
    yield "docs/results/two-gpus.md", f"two GPUs make **{one / two:.1f}** times the episodes"
    yield OVERVIEW, f"Two GPUs make {one / two:.1f} times the episodes of one"
    last = {
        name: [fmean(row["reward"] for row in steps(f"two-gpus-{name}{seed}")[5:]) for seed in ("", "-1", "-2")]
        for name in ("one-process", "two-processes")
    }
    gains = [two - one for one, two in zip(*last.values(), strict=True)]
    gain = between_runs(gains, [0.0])
    low, high = short(gain.low), short(gain.high)
    told = f"mean +{short(gain.value)} [{low}, {high}]"
    yield OVERVIEW, f"last five steps +{short(gain.value)} [{low}, {high}]"
    yield "docs/results/two-gpus.md", f"{', '.join(f'+{short(gain, 3)}' for gain in gains)}; {told}"
    ends = {
        name: [steps(f"two-gpus-{name}{seed}")[5:] for seed in ("", "-1", "-2")]
        for name in ("two-processes", "one-process")
    }
    noisy = [[f"{100 * fmean(row['noisy_pages'] for row in rows):.1f}" for rows in runs] for runs in ends.values()]
    drew = f"two processes drew {', '.join(noisy[0][:2])} and {noisy[0][2]} %, one {', '.join(noisy[1][:2])} and"
    asked = f"{100 * fmean(row['noise'] for row in ends['one-process'][0]):.1f} % noisy pages that were asked for"
    yield "docs/results/two-gpus.md", f"{asked}, {drew} {noisy[1][2]}"
    saw = [100 * fmean(row["evidence"] for rows in runs[1:] for row in rows) for runs in ends.values()]
    yield "docs/results/two-gpus.md", f"saw the answer ({saw[0]:.1f} and {saw[1]:.1f} %)"


def demo() -> Claims:
    page = "docs/results/demo.md"
    run, after = steps("demo"), report("demo-after")["summary"]
    rewards, searches = ([mean([row], key, n) for row in run] for key, n in (("reward", 3), ("searches", 2)))
    yield page, f"Reward of the three steps: {', '.join(rewards)}; searches {', '.join(searches)}."
    ends = share(after["em"], after["questions"]).partition(" ")[2]
    yield page, f"goes from .000 to **{short(after['f1'])}** {ends}"
    yield OVERVIEW, f"On two CPU cores from .000 to **{short(after['f1'])}** {ends}"
    slow, fast = sweep_scores("lr3"), sweep_scores("base")
    assert [score > 0.7 for score in slow] == [True] * 6
    yield page, "all of six seeds end above .70 (on 139 questions)"
    assert (sum(score < 0.7 for score in fast), len(fast)) == (2, 4)
    yield page, "two of four do not"
    scores = {(row["run"], row["device"]): row["f1_139"] for row in steps("demo-sweep")}
    apart = {run: abs(score - scores[run, "gpu"]) for (run, device), score in scores.items() if (run, "gpu") in scores}
    worst = max(gap for run, gap in apart.items() if run.startswith("base"))
    small = max(gap for run, gap in apart.items() if run.startswith(("lr3", "lr4")))
    yield page, f"up to {short(worst, 2)} F1 apart on a CPU and on a GPU, at 3e-4 and 4e-4 at most {short(small, 2)}"
    gains = []
    for rate in ("lr4", "lr3"):
        both = [
            seed for seed in range(8) if (f"base-s{seed}", "gpu") in scores and (f"{rate}-s{seed}", "gpu") in scores
        ]
        gains.append([scores[f"{rate}-s{seed}", "gpu"] - scores[f"base-s{seed}", "gpu"] for seed in both])
    assert [sum(gain > 0 for gain in rate) for rate in gains] == [4, 3]
    assert [len(rate) for rate in gains] == [4, 4]
    yield page, f"(mean difference {short(fmean(gains[0]))}), 3e-4 on three of the four ({short(fmean(gains[1]))})"


def learnable() -> Claims:
    page, found = "docs/results/what-there-is-to-learn.md", report("factbook-measure")["top_3"]["test"]
    whole, right = found["two_hop"], found["two_hop_gold"]
    yield (
        page,
        f"for {100 * whole:.1f} % when it is given the whole question, and for {100 * right:.1f} % after the two",
    )
    yield OVERVIEW, f"{short(whole)} of two-hop answers with the whole question, {short(right)} after"
    yield "recipes/factbook/README.md", f"| two-hop, after the two right queries | {short(right)} |"
    yield "recipes/factbook/README.md", f"| two-hop, the question as query | {short(whole)} |"
    yield "recipes/factbook/README.md", f"| one-hop, the question as query | {short(found['one_hop'])} |"


def readme() -> Claims:
    reinforce, slow = len(steps("demo-gpu-reinforce")), sweep_scores("lr3")
    shown = [f"{row['reward']:.3f} searches {row['searches']:.2f}" for row in steps("demo")]
    before, after = (report(f"demo-{when}")["summary"] for when in ("before", "after"))
    printed = ("f1", "searches", "evidence")
    for page, run, worst in (
        ("README.md", f"{reinforce} steps of REINFORCE", "worst"),
        ("README.zh-CN.md", f"REINFORCE {reinforce} 步", "最差"),
    ):
        yield page, run
        yield page, f"{short(fmean(slow))}{'，' if worst == '最差' else ', '}{worst} {short(min(slow))}"
        for number, line in enumerate(shown, 1):
            yield page, f"step {number}/3 reward {line}"
        for key in printed:
            yield page, f"│ {before[key]:.3f} │ {after[key]:.3f} │"


def other_pages() -> Claims:
    prompted, tuned = (fidelity_rows(report(f"fidelity-qwen-{name}")) for name in ("prompted", "tuned"))
    pages = [[f"{100 * share:.1f} %" for share in found["control"][2:]] for found in (prompted, tuned)]
    concept = "docs/concepts/simulator.md"
    yield concept, f"answer into {pages[0][0]} and {pages[0][1]} of them"
    yield concept, f"and into {100 * prompted['leak'][2]:.1f} % of useful pages on queries that BM25"
    yield concept, f"the first two were {pages[1][0]} and {pages[1][1]}"
    yield concept, f"then still {100 * tuned['leak'][2]:.1f} %"
    top = report("factbook-measure")["top_3"]["test"]
    yield "docs/concepts/leak.md", f"for {100 * top['two_hop']:.1f} % of whole questions (top 3)"
    yield "docs/concepts/leak.md", f"for {100 * top['two_hop_gold']:.1f} % after the two right queries"
    embedded = report("fidelity-embedded")
    kinds, card = fidelity_rows(embedded), "docs/cards/adapters.md"
    for label, name in (
        ("contains it (control)", "control"),
        ("does not (leak)", "leak"),
        ("than the question's", "wrong_country"),
    ):
        count, *shares = kinds[name]
        yield card, f"{label} | {count} | {' | '.join(map(short, shares))} |"
    yield card, f"{100 * embedded['whole_pages']:.1f} % of its pages have all three documents"
    yield card, f"an AUC of {short(embedded['style_auc']['useful'], 2)}"
    em = {row["method"]: 100 * row["micro"]["value"] for row in report("evaluate-qwen")["rows"]}
    yield "docs/simulator.md", f"EM *with BM25* from {em['episode']:.1f} to {em['zerosearch']:.1f}"


GROUPS = (
    readme,
    other_pages,
    beat_rag,
    demo_gpu,
    methods,
    embedded,
    tuned,
    make_simulator,
    machines,
    ablations,
    verl,
    demo,
    learnable,
)


def main() -> None:
    missing = 0
    for group in GROUPS:
        for page, claim in group():
            text = " ".join((ROOT / page).read_text(encoding="utf-8").split())
            said = claim in text
            missing += not said
            print(f"{'ok  ' if said else 'GONE'}  {page}: {claim}", file=sys.stdout if said else sys.stderr)
    sys.exit(1 if missing else 0)


if __name__ == "__main__":
    main()
