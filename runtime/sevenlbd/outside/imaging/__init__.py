"""The verb `image`: what an admin does with golden images. Each module is one group of its verbs, or a step of them.

- adding: add and check
- build_debian: `image build debian`
- build_windows: `image build windows`
- caching: `image cache`
- collecting: gc
- committing: what was worked on becomes a version
- flatten: several layers into one file
- image_session: sessions whose fruit is kept
- installation: from a blank disk to a ready image
- listing: list and show
- maintain: a version changed by hand, as a new one
- maintenance_session: what such work is begun with
- publishing: publish, rollback, rm
- scratch: a folder for what is half made
- serial: what an installation says of itself
- setup_answers: the disc that answers Windows' Setup
- signatures: keys, sign, verify
- warming: `image warm`
"""
