"""The words that are spoken: the ten digits first, then numbers, commands, things, and syllables."""

WORDS = tuple(
    """
    zero one two three four five six seven eight nine ten eleven twelve twenty thirty hundred thousand million first
    second third half double zero-zero nought yes no up down left right on off stop go forward backward follow learn
    visual open close start end play pause next back louder softer faster slower wait help please thanks hello
    goodbye sorry okay hey wow oh ah ooh aha yeah whoa uh-huh hmm come here there where who what when why how again
    never always maybe cat dog bird horse cow sheep pig lion tiger monkey frog chicken donkey duck goose wolf bear
    fox mouse rabbit snake fish whale bee fly spider elephant drum bass guitar piano violin trumpet flute organ song
    music dance beat rhythm noise silence sound voice sing house tree bed happy marvin sheila water fire rain wind
    thunder snow sun moon star sea river mountain forest city street car train plane boat bicycle door window table
    chair kitchen garden school church bread milk apple orange lemon cheese coffee sugar salt meat soup dinner
    breakfast red blue green yellow black white purple brown silver golden pink grey monday tuesday wednesday
    thursday friday saturday sunday january february march april june july august september october november
    december morning evening night today tomorrow yesterday mother father sister brother baby boy girl man woman
    friend teacher doctor king queen people children family love life death time money work world power peace war
    freedom justice story question answer reason idea good bad big small long short high low hot cold fast slow
    young old new strange quiet loud soft hard walk run jump sit stand eat drink sleep speak listen read write think
    know feel see hear touch turn move make take give find lose win break build carry throw catch push pull cut burn
    wash computer telephone radio television camera machine engine robot signal number letter language alphabet a
    dee ee eff gee aitch eye jay kay ell em en pee cue are ess tee you vee double-you ex zed ba da ga ka la ma na pa
    ra sa ta va za bo do ko lo mo po ro so to kee lee mee nee ree boo doo goo koo loo moo noo poo roo soo too cha
    cho chee sha sho shee tha tho thee zha yo ya wee wah hey-hey drop-it break-it-down here-we-go one-more-time
    get-down turn-it-up
    """.split()  # noqa: SIM905
)


def word_label(word: str) -> str:
    """What a clip that says a word is called: "rain" alone is the sound of rain."""
    return f"word {word}"
