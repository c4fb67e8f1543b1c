*> dayend [SPOOL]: mail the totals of a batch run from COBOL.     cobc -x -free dayend.cob
*>
*> COBOL has no verb that renames a folder, and the routines that do differ between compilers. So this job is
*> built in SPOOL/incoming itself, and a last file, READY, says that it is whole. The envelope is written last
*> but one: without it nothing is a job, whatever else happens. The text is in code page 1252 and says so.
*> Displays the job's name. Return code 73: the job could not be written.
identification division.
program-id. dayend.

environment division.
input-output section.
file-control.
    select out-file assign to dynamic out-path
        organization is line sequential
        file status is out-status.

data division.
file section.
fd  out-file.
01  out-line             pic x(120).

working-storage section.
01  spool                pic x(200).
01  job-name             pic x(40).
01  process-id           binary-long.
01  process-id-shown     pic 9(10).
01  job-path             pic x(250).
01  out-path             pic x(300).
01  out-status           pic xx.
01  euro                 pic x value x"80".     *> the euro sign in code page 1252
01  booked               pic 9(7) value 1482.
01  booked-shown         pic z,zzz,zz9.
01  turnover             pic 9(9)v99 value 48213.07.
01  turnover-shown       pic zzz,zzz,zz9.99.

procedure division.
main-line.
    accept spool from command-line
    if spool = spaces move "/var/spool/maildropd" to spool end-if

    *> The name is unique, by time and process number; the result comes back under it.
    call "getpid" returning process-id
    move process-id to process-id-shown
    string "dayend-" function current-date(1:14) "-" process-id-shown delimited by size into job-name
    string function trim(spool) "/incoming/" function trim(job-name)
        delimited by size into job-path
    call "CBL_CREATE_DIR" using job-path
    if return-code not = 0
        display "dayend: no folder " function trim(job-path) "; is this the spool?" upon syserr
        move 73 to return-code
        stop run
    end-if

    perform write-text
    perform write-envelope
    perform write-ready
    display function trim(job-name)
    stop run.

write-text.
    string function trim(job-path) "/body.txt" delimited by size into out-path
    perform open-file
    move booked to booked-shown
    move turnover to turnover-shown
    move "End of day: all ledgers are closed." to out-line
    perform write-line
    move spaces to out-line
    perform write-line
    string "Bookings    " function trim(booked-shown) delimited by size into out-line
    perform write-line
    move spaces to out-line
    string "Turnover    " euro " " function trim(turnover-shown) delimited by size into out-line
    perform write-line
    perform close-file.

write-envelope.
    move spaces to out-path
    string function trim(job-path) "/envelope.toml" delimited by size into out-path
    perform open-file
    move 'from = "Batch <batch@example.com>"' to out-line
    perform write-line
    move 'to = ["accounts@example.org", "night.shift@example.org"]' to out-line
    perform write-line
    move 'subject = "End of day: all ledgers are closed"' to out-line
    perform write-line
    move 'charset = "cp1252"' to out-line
    perform write-line
    perform close-file.

write-ready.
    move spaces to out-path
    string function trim(job-path) "/READY" delimited by size into out-path
    perform open-file
    perform close-file.

open-file.
    open output out-file
    perform check-status.

write-line.
    write out-line
    perform check-status.

close-file.
    close out-file
    perform check-status.

check-status.
    if out-status not = "00"
        display "dayend: " function trim(out-path) ": file status " out-status upon syserr
        move 73 to return-code
        stop run
    end-if.
